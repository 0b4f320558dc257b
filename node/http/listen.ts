/** Where a role's HTTP server listens: a socket it was handed (systemd's LISTEN_FDS), else its port. */
import { once } from 'node:events'
import type { Server } from 'node:http'
import type { AddressInfo } from 'node:net'

/** The first inherited socket, by systemd's convention. */
const LISTEN_FDS_START = 3

/** Whether the environment hands this process a listening socket. */
export function inheritsSocket(env: Readonly<Record<string, string | undefined>>): boolean {
  const ours = !env.LISTEN_PID || Number(env.LISTEN_PID) === process.pid
  return ours && Number(env.LISTEN_FDS ?? 0) >= 1
}

/** Listen; resolves with the port. Rejects with the system's error, EADDRINUSE for one. */
export async function listen(
  server: Server,
  port: number,
  env: Readonly<Record<string, string | undefined>>
): Promise<number> {
  if (inheritsSocket(env)) server.listen({ fd: LISTEN_FDS_START })
  else server.listen(port, '0.0.0.0')
  await once(server, 'listening')
  const address = server.address() as AddressInfo | null
  return address?.port ?? port
}
