/** Rows of `request_logs`, written behind the requests: a bounded queue, few transactions, the newest rows kept. */
import type { Knex } from 'knex'
import {
  REQUEST_LOG_BATCH_ROWS,
  REQUEST_LOG_FLUSH_MS,
  REQUEST_LOG_KEEP_ROWS,
  REQUEST_LOG_QUEUE_MAX_ROWS
} from '../constants.ts'

export interface RequestRow {
  method: string
  path: string
  statusCode: number
  bytesOut: number
  durationMs: number
  ip: string
  apiKeyId: number | null
}

export interface RequestLog {
  /** Never waits. False when the queue is full and the row was dropped. */
  add: (row: RequestRow) => boolean
  /** Rows dropped since the start: the queue was full, or the disk refused. */
  readonly dropped: number
  /** Writes what waits. */
  flush: () => Promise<void>
  /** Writes what waits and ends. */
  close: () => Promise<void>
}

export interface RequestLogOptions {
  /** A batch could not be written. */
  onError: (error: unknown) => void
  queueMaxRows?: number
  keepRows?: number
}

export function createRequestLog(knex: Knex, options: RequestLogOptions): RequestLog {
  const { onError, queueMaxRows = REQUEST_LOG_QUEUE_MAX_ROWS, keepRows = REQUEST_LOG_KEEP_ROWS } = options
  let queue: RequestRow[] = []
  let dropped = 0
  let timer: NodeJS.Timeout | null = null
  let writing: Promise<void> = Promise.resolve()
  let closed = false

  async function write(rows: RequestRow[]): Promise<void> {
    try {
      await knex.transaction(async transaction => {
        await transaction('request_logs').insert(
          rows.map(row => ({
            method: row.method,
            path: row.path,
            status_code: row.statusCode,
            bytes_out: row.bytesOut,
            duration_ms: row.durationMs,
            ip: row.ip,
            api_key_id: row.apiKeyId
          }))
        )
        const used = [...new Set(rows.flatMap(row => row.apiKeyId ?? []))]
        if (used.length > 0) {
          await transaction('api_keys')
            .whereIn('id', used)
            .update({ last_used_at: transaction.raw("strftime('%Y-%m-%dT%H:%M:%fZ', 'now')") })
        }
        // Ids only grow, so this is a range delete that mostly finds as many rows as were added.
        await transaction('request_logs').whereRaw('id <= (SELECT max(id) FROM request_logs) - ?', [keepRows]).delete()
      })
    } catch (error) {
      dropped += rows.length
      onError(error)
    }
  }

  function flush(): Promise<void> {
    if (timer !== null) clearTimeout(timer)
    timer = null
    const waiting = queue
    queue = []
    for (let start = 0; start < waiting.length; start += REQUEST_LOG_BATCH_ROWS) {
      const batch = waiting.slice(start, start + REQUEST_LOG_BATCH_ROWS)
      writing = writing.then(() => write(batch))
    }
    return writing
  }

  return {
    add(row) {
      if (closed || queue.length >= queueMaxRows) {
        dropped += 1
        return false
      }
      queue.push(row)
      timer ??= setTimeout(() => void flush(), REQUEST_LOG_FLUSH_MS).unref()
      return true
    },
    get dropped() {
      return dropped
    },
    flush,
    async close() {
      closed = true
      await flush()
    }
  }
}
