/**
 * `/warren/hard-punch/1.0.0`: what the two ends of a relayed connection say to each other, one JSON header (frames.ts) a
 * message. The opener of the stream says `hello`; both tell their kinds and decide by the same table (decide.ts).
 *
 *     opener                        other
 *     hello { token, role }  →
 *                            ←      hello { token, role }, or failed
 *     kind                   ↔      kind
 *     then, whoever is cone (C) and symmetric (S):
 *     C ready { port }       →      S sends its openers
 *                            ←      S probe { lowest, highest, probes, coneFirst: false }
 *     C missed { moved }     →      S next slice, or `probe` with coneFirst after C's port moved
 *                            ←      S met            both hand their socket to QUIC
 *     C adopted              →      the initiator dials
 */
import { z } from 'zod'
import { PUNCH_TOKEN_BYTES } from './packets.ts'
import { FIRST_PORT, LAST_PORT } from './ports.ts'

export const HARD_PUNCH_PROTOCOL = '/warren/hard-punch/1.0.0'

const MAX_REASON_CHARS = 40

const dependence = z.enum(['endpoint-independent', 'address-dependent', 'address-and-port-dependent', 'unknown'])
const allocation = z.enum(['preserving', 'sequential', 'random', 'block', 'hash', 'unknown'])
const port = z.int().min(FIRST_PORT).max(LAST_PORT)
const token = z.hex().length(2 * PUNCH_TOKEN_BYTES)

const schemas = {
  hello: z.object({
    type: z.literal('hello'),
    token,
    /** The speaker's part in the QUIC handshake; the other side takes the other. */
    role: z.enum(['initiator', 'responder'])
  }),
  kind: z.object({
    type: z.literal('kind'),
    kind: z.object({ mapping: dependence, allocation, filtering: dependence }),
    /** As whom the own sockets are seen; what the relay says of the connection must agree. */
    host: z.ipv4().nullable()
  }),
  ready: z.object({ type: z.literal('ready'), port }),
  probe: z.object({
    type: z.literal('probe'),
    lowest: port,
    highest: port,
    /** Ports to probe of these. */
    probes: z.int().min(1).max(LAST_PORT),
    /** Probe, then say `ready` with the port of a new socket: the symmetric side opens afterwards. */
    coneFirst: z.boolean()
  }),
  missed: z.object({ type: z.literal('missed'), moved: z.boolean() }),
  met: z.object({ type: z.literal('met') }),
  adopted: z.object({ type: z.literal('adopted') }),
  failed: z.object({ type: z.literal('failed'), reason: z.string().max(MAX_REASON_CHARS) })
} as const

export type MessageType = keyof typeof schemas
export type Message<T extends MessageType = MessageType> = z.infer<(typeof schemas)[T]>

const anyMessage = z.discriminatedUnion('type', [
  schemas.hello,
  schemas.kind,
  schemas.ready,
  schemas.probe,
  schemas.missed,
  schemas.met,
  schemas.adopted,
  schemas.failed
])

/** null: not a message of the protocol. */
export function parseMessage(header: unknown): Message | null {
  const result = anyMessage.safeParse(header)
  return result.success ? result.data : null
}
