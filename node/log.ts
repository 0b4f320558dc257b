/**
 * Logs: pino's JSON lines on stderr, pretty when stderr is a terminal, and in a file where one is asked for. stdout
 * carries the ready line only.
 */
import { type DestinationStream, type Logger, type LoggerOptions, pino } from 'pino'
import type { LogFile } from './log-file.ts'

/** What rooms log with: pino's logger. */
export type Log = Logger

export const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'] as const
export type LogLevel = (typeof LOG_LEVELS)[number]

const STDERR = 2

/**
 * A logger on stderr.
 * @param options.role written on every line, beside `host`
 * @param options.host the host's name (NODE_ID); left out when empty
 * @param options.file the same lines in a file, unless the level is `silent`
 */
export async function createLog(options: {
  level: LogLevel
  role: string
  host?: string
  file?: LogFile | undefined
}): Promise<Log> {
  const base: Record<string, string> = { role: options.role, ...(options.host ? { host: options.host } : {}) }
  const settings: LoggerOptions = { level: options.level, base }
  if (process.stderr.isTTY) {
    // Imported here: only people pay for it.
    const { default: pretty } = await import('pino-pretty')
    const stream = pretty({ destination: STDERR, colorize: true, ignore: 'pid,hostname', sync: true })
    return pino(settings, withFile(stream, options))
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
  return pino(settings, withFile(destination, options))
}

function withFile(
  stream: DestinationStream,
  options: { level: LogLevel; file?: LogFile | undefined }
): DestinationStream {
  const { level, file } = options
  if (file === undefined || level === 'silent') return stream
  process.once('exit', file.flushSync)
  return pino.multistream([
    { level, stream },
    { level, stream: file }
  ])
}

/** A logger that says nothing: for tests and short programs. */
export function silentLog(): Log {
  return pino({ level: 'silent' })
}
