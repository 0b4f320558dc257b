/** The Solidity compiler refused the sources; the message holds all its complaints. */
export class CompileError extends Error {
  override readonly name = 'CompileError'
  readonly code = 'COMPILE_FAILED'
}

/** One or more settings are missing or wrong; the message lists every one by name. */
export class ConfigurationError extends Error {
  override readonly name = 'ConfigurationError'
  readonly code = 'CONFIGURATION_INVALID'
  readonly problems: readonly string[]

  constructor(problems: readonly string[]) {
    super(`Configuration is wrong; correct these settings:\n${problems.map(problem => `  - ${problem}`).join('\n')}`)
    this.problems = problems
  }
}

/** The registry could not be deployed at the chain's start. */
export class DeploymentError extends Error {
  override readonly name = 'DeploymentError'
  readonly code = 'DEPLOYMENT_FAILED'
}

/** A call into the chain took longer than its deadline. */
export class ChainTimeoutError extends Error {
  override readonly name = 'ChainTimeoutError'
  readonly code = 'CHAIN_TIMEOUT'
}

/** A request's body is larger than the server takes. */
export class BodyTooLargeError extends Error {
  override readonly name = 'BodyTooLargeError'
  readonly code = 'BODY_TOO_LARGE'
}

/** A port of the chain cannot be listened on. */
export class ListenError extends Error {
  override readonly name = 'ListenError'
  readonly code = 'LISTEN_FAILED'
}
