/** How many messages are on their way to other gateways: capped for each namespace, so that one leaves room for others. */
import { PublishBusyError } from './errors.ts'
import { NAMESPACE_PUBLISHES_MAX, PUBLISHES_MAX } from './limits.ts'

export interface Outbox {
  /**
   * A place for one message; what it answers gives it back.
   * @throws PublishBusyError
   */
  take: (namespace: string) => () => void
  /** The same; null when there is none. */
  tryTake: (namespace: string) => (() => void) | null
}

export function createOutbox({ max = PUBLISHES_MAX, namespaceMax = NAMESPACE_PUBLISHES_MAX } = {}): Outbox {
  const underWay = new Map<string, number>()
  let total = 0

  function tryTake(namespace: string): (() => void) | null {
    const own = underWay.get(namespace) ?? 0
    if (total >= max || own >= namespaceMax) return null
    underWay.set(namespace, own + 1)
    total += 1
    return () => {
      const left = (underWay.get(namespace) ?? 1) - 1
      if (left === 0) underWay.delete(namespace)
      else underWay.set(namespace, left)
      total -= 1
    }
  }

  return {
    tryTake,
    take(namespace) {
      const release = tryTake(namespace)
      if (release === null) throw new PublishBusyError()
      return release
    }
  }
}
