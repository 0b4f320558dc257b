/**
 * The process of a host that only stands there: probes, punchers and people's own programs run beside it. It speaks to
 * nobody and keeps the process contract (ready line, `/health`, `/ready`, SIGTERM), so a runtime holds it like any role.
 * With `CLIENT_PROGRAM` it is another program that lies beside it under `dist/` and keeps the same contract.
 */
import { createServer } from 'node:http'

/** First descriptor systemd hands over. */
const FIRST_SOCKET = 3
const PROGRAM_NAME = /^[a-z][a-z-]*$/

const program = process.env.CLIENT_PROGRAM ?? ''
if (program === '') stand()
else if (PROGRAM_NAME.test(program)) await import(new URL(`./${program}.js`, import.meta.url).href)
else throw new Error(`CLIENT_PROGRAM is "${program}": the name of a program beside this one is needed`)

function stand(): void {
  const server = createServer(({ url = '/' }, response) => {
    const isKnown = ['/health', '/ready', '/metrics'].includes(url.split('?')[0] ?? '')
    response.writeHead(isKnown ? 200 : 404, { 'content-type': url === '/metrics' ? 'text/plain' : 'application/json' })
    response.end(url === '/metrics' ? 'up 1\n' : JSON.stringify(isKnown ? { status: 'ok' } : { error: 'not found' }))
  })
  const ready = (): void => console.log(JSON.stringify({ ready: true, peerId: null, addresses: [] }))
  if (process.env.LISTEN_FDS === '1') server.listen({ fd: FIRST_SOCKET }, ready)
  else server.listen(Number(process.env.PORT), ready)
  process.on('SIGTERM', () => process.exit(0))
}
