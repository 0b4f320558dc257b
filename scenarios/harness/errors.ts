/** What can go wrong in the harness; each says what to do. */

/** An error a person can act on: printed without a stack, exit 1. */
export class HarnessError extends Error {
  readonly code: string
  constructor(code: string, message: string, options?: ErrorOptions) {
    super(message, options)
    this.name = new.target.name
    this.code = code
  }
}

/** Thrown when a testnet of this tree already runs. */
export class TestnetRunningError extends HarnessError {
  constructor(run: string) {
    super(
      'TESTNET_RUNNING',
      `a testnet is already up (${run}): look with \`make testnet-status\`, end it with \`make testnet-down\``
    )
  }
}

/** Thrown when there is no testnet to look at. */
export class NoTestnetError extends HarnessError {
  constructor() {
    super('NO_TESTNET', 'no testnet is up: start one with `make testnet-up`')
  }
}

/** Thrown when a runtime cannot work on this machine. */
export class RuntimeMissingError extends HarnessError {
  constructor(runtime: string, missing: Array<{ what: string; why: string; fix: string }>) {
    const lines = missing.map(({ what, why, fix }) => `  - ${what}: ${why}\n    mend it: ${fix}`)
    super('RUNTIME_MISSING', `the ${runtime} runtime cannot work here:\n${lines.join('\n')}`)
  }
}

/** Thrown when a testnet, or watching it so, needs something that this machine lacks. */
export class TestnetNeedsError extends HarnessError {
  constructor(topology: string, missing: Array<{ what: string; why: string; fix: string }>) {
    const lines = missing.map(({ what, why, fix }) => `  - ${what}: ${why}\n    mend it: ${fix}`)
    super('TESTNET_NEEDS', `'${topology}' needs what is not here:\n${lines.join('\n')}`)
  }
}

/** Thrown when every slot's ports are taken. */
export class NoFreeSlotError extends HarnessError {
  constructor(tried: number) {
    super(
      'NO_FREE_SLOT',
      `no free slot: the ports or names of all ${tried} slots are taken; end another testnet (\`make testnet-down\` there)`
    )
  }
}

/** Thrown when a host's process ends before it listens. */
export class HostDiedError extends HarnessError {
  constructor(host: string, how: string, logFile: string, tail: string) {
    super(
      'HOST_DIED',
      `${host} ended before it was ready (${how}); its log is ${logFile}${tail === '' ? '' : `:\n${tail}`}`
    )
  }
}

/** Thrown when a host does not get ready in time. */
export class NotReadyError extends HarnessError {
  constructor(waiting: string[], withinMs: number) {
    super(
      'NOT_READY',
      `not ready after ${Math.round(withinMs / 1000)} s:\n${waiting.map(line => `  - ${line}`).join('\n')}`
    )
  }
}

/** Thrown when the keeper or supervisor of a netns testnet is gone or answers nonsense. */
export class KeeperError extends HarnessError {
  constructor(message: string, options?: ErrorOptions) {
    super('KEEPER', message, options)
  }
}

/** Thrown when a host of that name is not in the plan. */
export class UnknownHostError extends HarnessError {
  constructor(name: string, known: string[]) {
    super('UNKNOWN_HOST', `no host ${JSON.stringify(name)}; there are ${known.join(', ')}`)
  }
}

/** Thrown when a router of that name is not in the plan. */
export class UnknownRouterError extends HarnessError {
  constructor(name: string, known: string[]) {
    super('UNKNOWN_ROUTER', `no router ${JSON.stringify(name)}; there are ${known.join(', ') || 'none'}`)
  }
}

/** Thrown when a topology, scenario or flag names nothing that exists. */
export class UnknownNameError extends HarnessError {
  constructor(what: string, name: string, known: string[]) {
    super('UNKNOWN_NAME', `no ${what} ${JSON.stringify(name)}; there are ${known.join(', ')}`)
  }
}

/** Thrown when something stays after a failed or interrupted `up`. */
export class LeftBehindError extends HarnessError {
  constructor(cause: Error, left: string[]) {
    const why = cause instanceof InterruptedError ? 'interrupted' : cause.message
    super('LEFTOVERS', `${why}\nstill there: ${left.join('; ')}\n\`make testnet-down\` removes it`)
    this.cause = cause
  }
}

/** Thrown when the testnets of this tree were made by another user. */
export class NotYoursError extends HarnessError {
  constructor(folder: string) {
    super('NOT_YOURS', `${folder} belongs to another user: run this as that user (sudo make …)`)
  }
}

/** Thrown when a plan has impaired links and this machine has neither sch_netem nor NFQUEUE to make them. */
export class ShapingMissingError extends HarnessError {
  constructor() {
    super(
      'SHAPING_MISSING',
      'links of this topology are impaired and nothing here can do that: `make doctor` names the fix'
    )
  }
}

/** Thrown when an interface cannot be recorded though that was asked for. */
export class CaptureFailedError extends HarnessError {
  constructor(owner: string, said: string) {
    super('CAPTURE_FAILED', `what crosses ${owner} cannot be recorded: ${said || 'tcpdump says nothing'}`)
  }
}

/** Thrown when another command of this tree is bringing a testnet up at this moment. */
export class UpUnderWayError extends HarnessError {
  constructor() {
    super('UP_UNDER_WAY', 'another `make testnet-up` of this folder is under way: wait for it, or end it with Ctrl-C')
  }
}

/** Thrown when a person interrupted (Ctrl-C, SIGTERM). */
export class InterruptedError extends HarnessError {
  constructor() {
    super('INTERRUPTED', 'interrupted: everything was removed')
  }
}
