/** Logs: pino's JSON lines on stderr, pretty when stderr is a terminal. stdout carries the ready line only. */
import { type Logger, type LoggerOptions, pino } from 'pino'

/** What rooms log with: pino's logger. */
export type Log = Logger

export const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'] as const
export type LogLevel = (typeof LOG_LEVELS)[number]

const STDERR = 2

/**
 * A logger on stderr.
 * @param options.role written on every line, beside `host`
 * @param options.host the host's name (NODE_ID); left out when empty
 */
export async function createLog(options: { level: LogLevel; role: string; host?: string }): Promise<Log> {
  const base: Record<string, string> = { role: options.role, ...(options.host ? { host: options.host } : {}) }
  const settings: LoggerOptions = { level: options.level, base }
  if (process.stderr.isTTY) {
    // Imported here: only people pay for it.
    const { default: pretty } = await import('pino-pretty')
    return pino(settings, pretty({ destination: STDERR, colorize: true, ignore: 'pid,hostname', sync: true }))
  }
  const destination = pino.destination({ dest: STDERR, sync: false })
  process.once('exit', () => {
    // The last lines are the ones that say why it ended.
    try {
      destination.flushSync()
    } catch {
      // stderr is gone: nobody is left to read them.
    }
  })
  return pino(settings, destination)
}

/** A logger that says nothing: for tests and short programs. */
export function silentLog(): Log {
  return pino({ level: 'silent' })
}
