/** Errors of the client: one class a condition, with a stable `code`. */

/** Base of the errors this room throws on purpose. */
export class ClientError extends Error {
  /** Stable, UPPER_SNAKE. */
  readonly code: string

  constructor(code: string, message: string, options?: ErrorOptions) {
    super(message, options)
    this.name = new.target.name
    this.code = code
  }
}

/** Thrown when no node could be asked, or every asked one failed. `cause` is the last failure. */
export class NoNodeError extends ClientError {
  constructor(why: string, options?: ErrorOptions) {
    super('NO_NODE', `No storage node could do it: ${why}. See that bootstrap peers are up, and try again.`, options)
  }
}

/** Thrown when no node has the blob. */
export class BlobMissingError extends ClientError {
  constructor(cid: string, options?: ErrorOptions) {
    super('BLOB_NOT_FOUND', `No node has ${cid}. Check the CID, or try again when more nodes are up.`, options)
  }
}

/** Thrown when the source gave more or fewer bytes than was announced. */
export class SizeMismatchError extends ClientError {
  constructor(announced: number, given: number) {
    super('SIZE_MISMATCH', `The source gave ${given} bytes where ${announced} were announced. Announce the right size.`)
  }
}

/** Thrown when bytes from nodes do not hash to the CID that was asked for or said. They are not to be used. */
export class BlobAlteredError extends ClientError {
  constructor(cid: string, why: string, options?: ErrorOptions) {
    super('CID_MISMATCH', `${cid}: ${why}. Use nothing of it, and try again when other nodes are up.`, options)
  }
}

/** Thrown when a blob is larger than the caller takes. */
export class BlobTooLargeError extends ClientError {
  constructor(sizeBytes: number, maxBytes: number) {
    super('BLOB_TOO_LARGE', `The blob has ${sizeBytes} bytes; at most ${maxBytes} are taken. Raise maxBytes.`)
  }
}

/** Thrown when a relay is named in a way that a browser cannot use. */
export class RelayInvalidError extends ClientError {
  constructor(text: string, why: string, options?: ErrorOptions) {
    const shown = text.length > 200 ? `${text.slice(0, 200)}…` : text
    super(
      'RELAY_INVALID',
      `Relay "${shown}" ${why}. Give /dns4/host/tcp/443/tls/ws/p2p/<peer id>, /ip4/…/tcp/…/ws/p2p/<peer id>, or the URL of its HTTP port.`,
      options
    )
  }
}

/** Thrown when no relay could be reached. `cause` has what each said. */
export class RelayUnreachableError extends ClientError {
  constructor(why: string, options?: ErrorOptions) {
    super(
      'RELAY_UNREACHABLE',
      `No relay could be reached: ${why}. See that it runs and listens for WebSockets; from pages of https only wss is allowed.`,
      options
    )
  }
}

/** Thrown when a transfer as a whole took longer than it may. */
export class TransferTimeoutError extends ClientError {
  constructor(options?: ErrorOptions) {
    super('TRANSFER_TIMEOUT', 'The transfer took longer than a blob of its size may. Try again.', options)
  }
}

/** Thrown by whatever was under way when the client was closed, and by what is asked of it later. */
export class ClientClosedError extends ClientError {
  constructor() {
    super('CLIENT_CLOSED', 'The client was closed. Create another one.')
  }
}

/** Thrown when a gateway answers with an error; `status` is HTTP's. */
export class GatewayAnswerError extends ClientError {
  readonly status: number

  constructor(status: number, code: string, message: string) {
    super(code, message)
    this.status = status
  }
}

/** Thrown when a gateway does not answer. */
export class GatewayUnreachableError extends ClientError {
  constructor(url: string, options?: ErrorOptions) {
    super('GATEWAY_UNREACHABLE', `${url} does not answer. See that the gateway runs and the URL is right.`, options)
  }
}

/** Thrown when a node does not answer its HTTP port. */
export class NodeUnreachableError extends ClientError {
  constructor(url: string, options?: ErrorOptions) {
    super(
      'NODE_UNREACHABLE',
      `${url} does not answer. See that the node runs, or name another with --node or WARREN_NODE.`,
      options
    )
  }
}

/** Thrown when a backup is not whole, or a restore would overwrite something. */
export class BackupError extends ClientError {
  constructor(message: string, options?: ErrorOptions) {
    super('BACKUP_FAILED', message, options)
  }
}

/** Thrown when what is to be stored cannot be read here. */
export class SourceUnreadableError extends ClientError {
  constructor(path: string, why: string, options?: ErrorOptions) {
    super('SOURCE_UNREADABLE', `${path} cannot be read: ${why}. Name a file that you may read.`, options)
  }
}

/** @throws ClientError URL_INVALID naming where the text came from */
export function requireUrl(text: string, where: string): void {
  const protocol = URL.parse(text)?.protocol
  if (protocol === 'http:' || protocol === 'https:') return
  throw new ClientError('URL_INVALID', `"${text}" is no URL. Give http://host:port by ${where}.`)
}
