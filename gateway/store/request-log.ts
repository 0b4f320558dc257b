/** Rows of `request_logs`, written behind the requests: a bounded queue, few transactions, the newest rows kept. */
import {
  REQUEST_LOG_BATCH_ROWS,
  REQUEST_LOG_FLUSH_MS,
  REQUEST_LOG_KEEP_ROWS,
  REQUEST_LOG_QUEUE_MAX_ROWS
} from '../constants.ts'
import type { Statement, Statements } from './statements.ts'

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

// The key may have gone since, and one row that refers to nothing would take the whole batch with it.
const INSERT = `INSERT INTO request_logs (method, path, status_code, bytes_out, duration_ms, ip, api_key_id)
  VALUES (?, ?, ?, ?, ?, ?, (SELECT id FROM api_keys WHERE id = ?))`
const USED = `UPDATE api_keys SET last_used_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now')
  WHERE id IN (SELECT value FROM json_each(?))`
// Ids only grow, so this is a range delete that mostly finds as many rows as were added.
const KEEP_NEWEST = 'DELETE FROM request_logs WHERE id <= (SELECT max(id) FROM request_logs) - ?'

export function createRequestLog(statements: Pick<Statements, 'batch'>, options: RequestLogOptions): RequestLog {
  const { onError, queueMaxRows = REQUEST_LOG_QUEUE_MAX_ROWS, keepRows = REQUEST_LOG_KEEP_ROWS } = options
  let queue: RequestRow[] = []
  let dropped = 0
  let timer: NodeJS.Timeout | null = null
  let writing: Promise<void> = Promise.resolve()
  let closed = false

  async function write(rows: RequestRow[]): Promise<void> {
    try {
      const used = [...new Set(rows.flatMap(row => row.apiKeyId ?? []))]
      const inserts = rows.map((row): Statement => {
        const { method, path, statusCode, bytesOut, durationMs, ip, apiKeyId } = row
        return { sql: INSERT, parameters: [method, path, statusCode, bytesOut, durationMs, ip, apiKeyId] }
      })
      const touch = { sql: USED, parameters: [JSON.stringify(used)] }
      const trim = { sql: KEEP_NEWEST, parameters: [keepRows] }
      // A power cut may take the newest rows: no request waits for the disk because of its log.
      await statements.batch([...inserts, touch, trim], { isDurable: false })
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
