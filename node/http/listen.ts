/** Where a role's HTTP server listens: a socket it was handed (systemd's LISTEN_FDS), else its port. */
import { once } from 'node:events'
import type { Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { PortTakenError } from '../errors.ts'

/** The first inherited socket, by systemd's convention. */
const LISTEN_FDS_START = 3

/** Whether the environment hands this process a listening socket. */
export function inheritsSocket(env: Readonly<Record<string, string | undefined>>): boolean {
  const ours = !env.LISTEN_PID || Number(env.LISTEN_PID) === process.pid
  return ours && Number(env.LISTEN_FDS ?? 0) >= 1
}

/** Listen; resolves with the port. @throws PortTakenError, or the system's error */
export async function listen(
  server: Server,
  port: number,
  env: Readonly<Record<string, string | undefined>>
): Promise<number> {
  if (inheritsSocket(env)) server.listen({ fd: LISTEN_FDS_START })
  else server.listen(port, '0.0.0.0')
  await once(server, 'listening').catch((error: NodeJS.ErrnoException) => {
    throw error.code === 'EADDRINUSE' ? new PortTakenError(port, error) : error
  })
  const address = server.address() as AddressInfo | null
  return address?.port ?? port
}
