/** What can go wrong in this room beside a command that fails. */
import type { Plan } from './plan.types.ts'
import type { Problem } from './validate.ts'

/** Thrown when a topology cannot be planned; `problems` lists every reason with its path. */
export class TopologyInvalidError extends Error {
  override readonly name = 'TopologyInvalidError'
  readonly code = 'TOPOLOGY_INVALID'
  readonly problems: Problem[]

  constructor(topology: string, problems: Problem[]) {
    const lines = problems.map(problem => `  ${problem.path}: ${problem.message}`)
    super(`topology '${topology}' has ${problems.length} problem(s); mend them and try again:\n${lines.join('\n')}`)
    this.problems = problems
  }
}

/** Thrown when a slot is not a whole number from 0 to 15. */
export class SlotOutOfRangeError extends Error {
  override readonly name = 'SlotOutOfRangeError'
  readonly code = 'SLOT_OUT_OF_RANGE'

  constructor(slot: number, slots: number) {
    super(`slot ${slot} does not exist; use a whole number from 0 to ${slots - 1}`)
  }
}

/** Thrown when someone asks for a network that the plan does not have. */
export class UnknownNetworkError extends Error {
  override readonly name = 'UnknownNetworkError'
  readonly code = 'UNKNOWN_NETWORK'

  constructor(network: string, known: string[]) {
    super(`there is no network '${network}'; there are ${known.join(', ')}`)
  }
}

/** Thrown when someone asks for a router that the plan does not have. */
export class UnknownRouterError extends Error {
  override readonly name = 'UnknownRouterError'
  readonly code = 'UNKNOWN_ROUTER'

  constructor(router: string, known: string[]) {
    super(`there is no router '${router}'; there are ${known.join(', ') || 'none'}`)
  }
}

/** Thrown when a network has no address for one more. */
export class NoAddressLeftError extends Error {
  override readonly name = 'NoAddressLeftError'
  readonly code = 'NO_ADDRESS_LEFT'

  constructor(network: string, subnet: string) {
    super(`${subnet} of '${network}' has no address for a visitor; take a network with fewer hosts or a wider subnet`)
  }
}

/** Thrown when a change of a running network cannot be made; says why and what can. */
export class ChangeRefusedError extends Error {
  override readonly name = 'ChangeRefusedError'
  readonly code = 'CHANGE_REFUSED'
}

/** Thrown when someone asks for a host that the plan does not have. */
export class UnknownHostError extends Error {
  override readonly name = 'UnknownHostError'
  readonly code = 'UNKNOWN_HOST'

  constructor(host: string, plan: Plan) {
    super(`the plan '${plan.topology}' has no host '${host}'; it has ${plan.hosts.map(({ name }) => name).join(', ')}`)
  }
}

/** Thrown when a link is to be impaired and nothing here can do that. */
export class ShapingMissingError extends Error {
  override readonly name = 'ShapingMissingError'
  readonly code = 'SHAPING_MISSING'

  constructor() {
    super('this machine has neither sch_netem nor NFQUEUE, so no link can be impaired: `make doctor` names the fix')
  }
}

/** Thrown when `tc netem` cannot make a link: newer kernels refuse duplicates beside any other netem of an interface. */
export class DuplicatesByPeerError extends Error {
  override readonly name = 'DuplicatesByPeerError'
  readonly code = 'DUPLICATES_BY_PEER'

  constructor() {
    super(
      'tc netem cannot duplicate packets on a link whose peers have other impairments: take duplicatePct out of the link and its peers, or the peers out of the link'
    )
  }
}
