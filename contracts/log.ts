import pino from 'pino'

/** Logs of the role: JSON lines on stderr, readable ones on a terminal. Stdout carries the ready line alone. */
export async function createLog(level: string): Promise<pino.Logger> {
  const options: pino.LoggerOptions = { level, base: { role: 'chain' }, timestamp: pino.stdTimeFunctions.isoTime }
  if (!process.stderr.isTTY) return pino(options, pino.destination({ dest: 2, sync: true }))
  const { default: pretty } = await import('pino-pretty')
  return pino(options, pretty({ destination: 2, sync: true }))
}
