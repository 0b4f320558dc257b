/** One question to the router by UDP, repeated until it answers. */
import { createSocket } from 'node:dgram'

/** RFC 6886 section 3.1: the first repetition after 250 ms, then twice as long each time. Nine would take two minutes. */
const FIRST_RESEND_MS = 250
const TRIES = 3

/**
 * The first datagram for which `isAnswer` holds; null when none came. Nobody but the router is heard
 * unless `anyone` is set, as SSDP needs, whose question goes to a group.
 */
export async function exchange(options: {
  to: { host: string; port: number }
  from: string
  message: Uint8Array
  isAnswer: (datagram: Buffer) => boolean
  anyone?: boolean
  tries?: number
  signal: AbortSignal
}): Promise<Buffer | null> {
  const { to, from, message, isAnswer, anyone = false, tries = TRIES, signal } = options
  signal.throwIfAborted()
  const socket = createSocket('udp4')
  let timer: NodeJS.Timeout | undefined
  let onAbort: (() => void) | undefined
  try {
    return await new Promise<Buffer | null>((resolve, reject) => {
      let tried = 0
      const send = () => {
        if (tried === tries) return resolve(null)
        // What cannot be sent (no route, no such neighbour) is as good as unanswered.
        socket.send(message, to.port, to.host, () => undefined)
        timer = setTimeout(send, FIRST_RESEND_MS * 2 ** tried++)
      }
      onAbort = () => reject(signal.reason)
      signal.addEventListener('abort', onAbort, { once: true })
      socket.on('error', () => resolve(null))
      socket.on('message', (datagram, { address }) => {
        if ((anyone || address === to.host) && isAnswer(datagram)) resolve(datagram)
      })
      socket.bind({ address: from, port: 0 }, send)
    })
  } finally {
    clearTimeout(timer)
    if (onAbort !== undefined) signal.removeEventListener('abort', onAbort)
    socket.close()
  }
}
