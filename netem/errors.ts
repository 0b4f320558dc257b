/** Thrown when a topology cannot be planned; `problems` lists every reason with its path. */
import type { Problem } from './validate.ts'

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
