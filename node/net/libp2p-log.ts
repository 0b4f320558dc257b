import { format } from 'node:util'
import type { ComponentLogger, Logger } from '@libp2p/interface'
import type { Log } from '../log.ts'

/**
 * libp2p's own lines as trace lines of our log. libp2p formats eagerly and writes much, so its loggers are inert
 * unless the level is trace.
 */
export function libp2pLogger(log: Log): ComponentLogger {
  const on = log.isLevelEnabled('trace')
  return { forComponent: name => (on ? speaking(log, name) : SILENT) }
}

const nothing = () => undefined

const SILENT: Logger = Object.assign(nothing, {
  error: nothing,
  trace: nothing,
  enabled: false,
  newScope: () => SILENT
})

function speaking(log: Log, name: string): Logger {
  const write = (template: unknown, ...args: unknown[]) =>
    log.trace({ component: name }, format(String(template).replace(/%[pabtke]/g, '%s'), ...args.map(textOf)))
  return Object.assign(write, {
    error: write,
    trace: write,
    enabled: true,
    newScope: (scope: string) => speaking(log, `${name}:${scope}`)
  })
}

function textOf(value: unknown): unknown {
  if (value instanceof Error) return value.message
  return typeof value === 'object' && value !== null && 'toString' in value ? value.toString() : value
}
