/** What can go wrong with the engine. */
import { HarnessError } from './errors.ts'

/** Thrown when the Docker engine does not answer or does not do what it is asked. */
export class EngineError extends HarnessError {
  constructor(cause: unknown) {
    const why = cause instanceof Error ? cause.message : String(cause)
    super(
      'ENGINE',
      `the Docker engine did not do it: ${why.trim()}\nis it running? \`make doctor\` looks, \`make docker-engine\` starts or installs one on Debian`,
      { cause }
    )
  }
}
