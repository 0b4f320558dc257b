/** What logins answer with an error on purpose; `GatewayError` says how. */
import { GatewayError } from '../errors.ts'

/** Thrown when a nonce was never given to this wallet and namespace, is used, or is over. */
export class NonceInvalidError extends GatewayError {
  constructor() {
    super('NONCE_INVALID', 400, 'invalid or expired nonce')
  }
}

/** Thrown when a signature is not one in the only form that is taken: 65 bytes r, s, v with a low s; or 64 (SOL). */
export class SignatureFormatError extends GatewayError {
  constructor() {
    super('SIGNATURE_FORMAT', 400, 'invalid signature format')
  }
}

/** A login that failed; the challenge says that another try is welcome. */
class LoginFailedError extends GatewayError {
  constructor(code: string, message: string) {
    super(code, 401, message, { headers: { 'WWW-Authenticate': 'Bearer realm="gateway", charset="UTF-8"' } })
  }
}

/** Thrown when no key can have made this signature. */
export class SignatureRecoveryError extends LoginFailedError {
  constructor() {
    super('SIGNATURE_RECOVERY', 'signature recovery failed')
  }
}

/** Thrown when somebody else made this signature, or over another text. */
export class SignatureMismatchError extends LoginFailedError {
  constructor() {
    super('SIGNATURE_MISMATCH', 'signature does not match wallet')
  }
}

/** Thrown when an EIP-4361 message is malformed, or not for this gateway, or not for now. */
export class SiweInvalidError extends GatewayError {
  constructor(what: string) {
    super('SIWE_INVALID', 400, `invalid EIP-4361 message: ${what}`)
  }
}

/** Thrown for a refresh token that is unknown, used, revoked or over. */
export class RefreshTokenInvalidError extends LoginFailedError {
  constructor() {
    super('REFRESH_TOKEN_INVALID', 'invalid or expired refresh token')
  }
}

/** Thrown when `all: true` comes without a token that says whose. */
export class JwtRequiredError extends LoginFailedError {
  constructor() {
    super('JWT_REQUIRED', 'jwt required for all=true')
  }
}

/** Thrown when the login page would send a key to where nobody has said it may go. */
export class CallbackForbiddenError extends GatewayError {
  constructor() {
    super(
      'CALLBACK_FORBIDDEN',
      400,
      "forbidden 'callback': http on a loopback address with a port, or one of GATEWAY_LOGIN_CALLBACKS"
    )
  }
}

/** Thrown when the key file of the data directory cannot be read as one. */
export class KeyFileInvalidError extends GatewayError {
  constructor(path: string) {
    super('KEY_FILE_INVALID', 500, `${path} is damaged: restore it, or remove it to end all logins and make a new one`)
  }
}
