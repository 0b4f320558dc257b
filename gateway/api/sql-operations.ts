/** /v1/db/*, also as /v1/rqlite/*: a namespace's own SQL database. */
import { z } from 'zod'
import { SQL_EXPORT_FORMATS } from '../sql/sql.types.ts'
import { count, type Operation } from './operation.ts'

const TAG = 'SQL'

/** Both paths of an operation. */
const at = (method: 'GET' | 'POST', name: string): Operation['at'] => [
  `${method} /v1/db/${name}`,
  `${method} /v1/rqlite/${name}`
]
const value = z.unknown().describe('null, a number, a text; an integer beyond 2^53 as text; bytes as base64')
const sql = z.string().describe('one statement')
const args = z.union([z.array(z.unknown()), z.looseObject({})]).describe('bound by position or name; never inserted')
const statement = z.object({ sql, args: args.optional() })
const item = z.looseObject({}).describe('a row: its columns by name')
const items = z.object({ items: z.array(item), count })
const executed = z.object({ rows_affected: count, last_insert_id: value })
const ok = z.object({ status: z.literal('ok') })
const table = z.string().describe('letters, digits and _')
const json = (body: z.ZodType) => ({ 'application/json': body })
const reads = { 403: ['SQL_REFUSED'], 422: ['SQL_DEADLINE', 'SQL_MEMORY'], 429: ['SQL_QUEUE_FULL'] }
const runs = {
  ...reads,
  400: ['INVALID_REQUEST', 'SQL_ERROR', 'SQL_CONSTRAINT', 'SQL_SECOND_STATEMENT', 'SQL_EMPTY', 'SQL_ARGUMENTS_INVALID'],
  413: ['BODY_TOO_LARGE', 'SQL_STATEMENT_TOO_LARGE', 'SQL_STATEMENTS_TOO_MANY', 'SQL_TOO_BIG'],
  503: ['OVERLOADED', 'SQL_UNAVAILABLE', 'DATABASE_BUSY'],
  507: ['STORAGE_FULL']
}
const ordering = {
  group_by: z.array(z.string()).optional(),
  order_by: z.array(z.string()).optional(),
  limit: count.optional(),
  offset: count.optional()
}
const joins = z.array(z.object({ kind: z.string().optional(), table: z.string(), on: z.string() })).optional()
const find = z.object({
  table,
  criteria: z.looseObject({}).describe('columns and what they equal').optional(),
  options: z.object({ select: z.array(z.string()).optional(), joins, ...ordering }).optional()
})

/** Everything here is a namespace's own, and never anonymous. */
const own = (operation: Omit<Operation, 'tag' | 'access' | 'inNamespace'>): Operation => ({
  ...operation,
  tag: TAG,
  access: 'key',
  inNamespace: true
})

export const sqlOperations: Operation[] = [
  own({
    at: at('POST', 'query'),
    summary: 'One statement and its rows',
    body: json(statement),
    answers: {
      200: {
        description: 'the rows; of a statement without any: the column "affected"',
        body: z.object({
          columns: z.array(z.string()),
          rows: z.array(z.array(value)),
          count,
          items: z.array(item).describe('under /v1/rqlite').optional()
        })
      }
    },
    errors: runs
  }),
  own({
    at: at('POST', 'exec'),
    summary: 'One statement, and how many rows it wrote',
    body: json(statement),
    answers: { 200: { description: 'done', body: executed.extend({ execution_state: z.literal('ok') }) } },
    errors: runs
  }),
  own({
    at: at('POST', 'transaction'),
    summary: 'Several statements, all or nothing',
    body: json(
      z.union([
        z.object({ statements: z.array(z.union([sql, statement])) }),
        z.object({
          ops: z.array(statement.extend({ kind: z.enum(['exec', 'query']).optional() })),
          return_results: z.boolean().optional()
        })
      ])
    ),
    answers: {
      200: {
        description: 'all of them are done',
        body: ok.extend({
          results: z
            .array(z.union([executed, z.array(item)]))
            .describe('in order')
            .optional()
        })
      }
    },
    errors: runs
  }),
  own({
    at: at('POST', 'find'),
    summary: 'Rows by what columns equal',
    body: json(find),
    answers: { 200: { description: 'the rows', body: items } },
    errors: runs
  }),
  own({
    at: at('POST', 'find-one'),
    summary: 'The first row by what columns equal',
    body: json(find),
    answers: { 200: { description: 'the row', body: item } },
    errors: { ...runs, 404: ['SQL_ROW_NOT_FOUND'] }
  }),
  own({
    at: at('POST', 'select'),
    summary: 'A query in parts',
    body: json(
      z.object({
        table,
        alias: z.string().optional(),
        select: z.array(z.string()).optional(),
        joins,
        where: z
          .array(z.object({ conj: z.enum(['AND', 'OR']).optional(), expr: z.string(), args: args.optional() }))
          .optional(),
        ...ordering,
        one: z.boolean().describe('true: the first row alone').optional()
      })
    ),
    answers: { 200: { description: 'the rows, or the one', body: z.union([items, item]) } },
    errors: { ...runs, 404: ['SQL_ROW_NOT_FOUND'] }
  }),
  own({
    at: at('POST', 'create-table'),
    summary: 'Create a table',
    body: json(z.object({ schema: z.string().describe('one CREATE TABLE') })),
    answers: { 201: { description: 'created', body: ok } },
    errors: runs
  }),
  own({
    at: at('POST', 'drop-table'),
    summary: 'Drop a table',
    body: json(z.object({ table })),
    answers: { 200: { description: 'dropped', body: ok } },
    errors: { ...runs, 404: ['SQL_TABLE_NOT_FOUND'] }
  }),
  own({
    at: at('GET', 'schema'),
    summary: 'Tables and their columns',
    answers: {
      200: {
        description: 'by name, without SQLite’s own',
        body: z.object({
          tables: z.array(
            z.object({
              name: z.string(),
              columns: z.array(
                z.object({ name: z.string(), type: z.string(), nullable: z.boolean(), default: z.string().nullable() })
              )
            })
          )
        })
      }
    },
    errors: reads
  }),
  own({
    at: at('GET', 'backup'),
    summary: 'The database as a SQLite file',
    answers: { 200: { description: 'the file', body: { 'application/vnd.sqlite3': 'bytes' } } },
    errors: { ...reads, 503: ['OVERLOADED', 'SQL_UNAVAILABLE'], 507: ['STORAGE_FULL'] }
  }),
  own({
    at: at('POST', 'restore'),
    summary: 'Put a backup in place of all that is there',
    body: { 'application/vnd.sqlite3': 'bytes', 'application/octet-stream': 'bytes' },
    answers: { 200: { description: 'restored, whole', body: ok } },
    errors: {
      ...reads,
      400: ['SQL_RESTORE_INVALID'],
      408: ['BODY_STALLED'],
      413: ['BODY_TOO_LARGE'],
      503: ['OVERLOADED', 'SQL_UNAVAILABLE', 'DATABASE_BUSY'],
      507: ['STORAGE_FULL']
    }
  }),
  own({
    at: at('GET', 'export'),
    summary: 'Schema and rows as text',
    query: {
      format: { description: 'sql if not said', schema: z.enum(SQL_EXPORT_FORMATS).optional() }
    },
    answers: {
      200: { description: 'the text', body: { 'application/sql': 'text', 'application/jsonl': 'text' } }
    },
    errors: { ...reads, 400: ['INVALID_REQUEST'], 503: ['OVERLOADED', 'SQL_UNAVAILABLE'], 507: ['STORAGE_FULL'] }
  })
]
