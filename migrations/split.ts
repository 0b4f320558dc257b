/** One SQL statement of a file. */
export interface Statement {
  /** The statement without its final semicolon and without comments before it. */
  text: string
  /** Line of the file where it starts, from 1. */
  line: number
  /** Its first words and names in upper case, quotes and comments removed; enough to tell what it is. */
  words: readonly string[]
}

/** Words kept of each statement: INSERT OR REPLACE INTO main . schema_migrations. */
const MAX_WORDS = 7

const CLOSING_QUOTE: Readonly<Record<string, string>> = { "'": "'", '"': '"', '`': '`', '[': ']' }
const WORD_START = /[A-Za-z_\u0080-\uffff]/
const WORD = /[\w$\u0080-\uffff]+/y

/**
 * Splits SQLite's SQL into statements as SQLite's shell does: semicolons inside strings, quoted names, comments and
 * the body of CREATE TRIGGER do not end a statement; a trigger ends with `; END ;`. Empty statements and comments
 * alone are dropped. Never fails: what is not closed at the end of the file is the last statement, and SQLite says
 * what is wrong with it.
 */
export function splitStatements(sql: string): Statement[] {
  const statements: Statement[] = []
  let start = -1
  let words: string[] = []
  /** The last two tokens of the statement, to see the `; END` before a trigger's last semicolon. */
  let last = ''
  let beforeLast = ''
  const take = (token: string, at: number, name: string | null) => {
    if (start < 0) start = at
    if (name !== null && words.length < MAX_WORDS) words.push(name.toUpperCase())
    beforeLast = last
    last = token
  }
  const finish = (end: number) => {
    if (start >= 0) {
      statements.push({ text: sql.slice(start, end).trimEnd(), line: lineAt(sql, start), words })
    }
    start = -1
    words = []
    last = ''
    beforeLast = ''
  }

  let at = sql.startsWith('\ufeff') ? 1 : 0
  while (at < sql.length) {
    const char = sql[at] as string
    if (/\s/.test(char)) {
      at += 1
    } else if (sql.startsWith('--', at)) {
      at = after(sql, '\n', at)
    } else if (sql.startsWith('/*', at)) {
      at = after(sql, '*/', at + 2)
    } else if (char in CLOSING_QUOTE) {
      const end = endOfQuoted(sql, at, CLOSING_QUOTE[char] as string)
      // A quoted END is no keyword, and a string is not even a name.
      take('quoted', at, char === "'" ? null : sql.slice(at + 1, end - 1))
      at = end
    } else if (char === ';') {
      if (isTrigger(words) && !(last === 'END' && beforeLast === ';')) take(';', at, null)
      else finish(at)
      at += 1
    } else if (WORD_START.test(char)) {
      WORD.lastIndex = at
      const word = (WORD.exec(sql) as RegExpExecArray)[0]
      take(word.toUpperCase(), at, word)
      at += word.length
    } else {
      take(char, at, char === '.' ? char : null)
      at += 1
    }
  }
  finish(sql.length)
  return statements
}

function isTrigger(words: readonly string[]): boolean {
  const [first, second, third] = words
  return first === 'CREATE' && (second === 'TRIGGER' || (/^TEMP(ORARY)?$/.test(second ?? '') && third === 'TRIGGER'))
}

/** Index behind the closing quote; a doubled quote stands for itself, except in brackets. */
function endOfQuoted(sql: string, start: number, closing: string): number {
  let at = start + 1
  while (at < sql.length) {
    if (sql[at] !== closing) at += 1
    else if (closing !== ']' && sql[at + 1] === closing) at += 2
    else return at + 1
  }
  return sql.length
}

function after(sql: string, what: string, from: number): number {
  const found = sql.indexOf(what, from)
  return found < 0 ? sql.length : found + what.length
}

function lineAt(sql: string, index: number): number {
  let line = 1
  for (let at = sql.indexOf('\n'); at >= 0 && at < index; at = sql.indexOf('\n', at + 1)) line += 1
  return line
}
