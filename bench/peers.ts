/** Processes of a benchmark that are told what to do by messages, so that nothing else of it runs in them. */
import { type ChildProcess, fork } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { boundToUs } from './processes.ts'

/** What an order that failed is answered with. */
interface Failed {
  error: string
}

const isFailed = (answer: unknown): answer is Failed =>
  typeof answer === 'object' && answer !== null && typeof (answer as Failed).error === 'string'

/** Starts a file beside this one; it ends with this process. */
export function startPeer(file: string): ChildProcess {
  return boundToUs(fork(fileURLToPath(new URL(file, import.meta.url))))
}

/** Gives an order and waits for its answer; one at a time for each process. */
export async function ask<Order extends object, Answer>(child: ChildProcess, order: Order): Promise<Answer> {
  const { promise, resolve, reject } = Promise.withResolvers<unknown>()
  const onExit = (code: number | null) => reject(new Error(`a process of the benchmark ended with ${code}`))
  child.once('message', resolve)
  child.once('exit', onExit)
  child.send(order)
  try {
    const answer = await promise
    if (isFailed(answer)) throw new Error(answer.error)
    return answer as Answer
  } finally {
    child.off('message', resolve)
    child.off('exit', onExit)
  }
}

/** The other side: answers every order, and ends when nobody is there to give one. */
export function obeyOrders<Order>(obey: (order: Order) => Promise<object>): void {
  process.on('message', (order: Order) => {
    obey(order).then(
      answer => process.send!(answer),
      error => process.send!({ error: String((error as Error).stack ?? error) } satisfies Failed)
    )
  })
  process.once('disconnect', () => process.exit())
}
