/** Statements no tenant may get anything by, and their spellings. Data of tests; not for production code. */

/** What a statement answers: an error's code, or `OK` for one that is harmless. */
export interface Hostile {
  sql: string
  code: string
}

const all = (code: string, ...statements: string[]): Hostile[] => statements.map(sql => ({ sql, code }))

/** @param file another tenant's file @param beside a path beside it that must never come to be */
export function hostileStatements(file: string, beside: string): Hostile[] {
  return [
    ...all(
      'SQL_REFUSED',
      `ATTACH DATABASE '${file}' AS other`,
      `ATTACH '${file}' AS other`,
      `ATTACH 'file:${file}?mode=ro' AS other`,
      `ATTACH (SELECT '${file}') AS other`,
      `ATTACH '${file.slice(0, 8)}' || '${file.slice(8)}' AS other`,
      "ATTACH ':memory:' AS other",
      "ATTACH '' AS other",
      `ATTACH '${beside}' AS other`,
      'DETACH DATABASE main',
      'DETACH temp',
      'VACUUM',
      'VACUUM main',
      `VACUUM INTO '${beside}'`,
      `VACUUM main INTO (SELECT '${beside}')`,
      "SELECT load_extension('libc.so.6')",
      "SELECT load_extension('libc.so.6', 'system')",
      "WITH e AS (SELECT load_extension('x') AS x) SELECT x FROM e",
      "SELECT 1 WHERE EXISTS (SELECT load_extension('x'))",
      "INSERT INTO notes SELECT load_extension('x')",
      'CREATE INDEX hostile ON notes (load_extension(body))',
      'PRAGMA writable_schema = 1',
      'PRAGMA main.writable_schema = ON',
      'PRAGMA writable_schema(RESET)',
      'PRAGMA synchronous = OFF',
      'PRAGMA journal_mode = DELETE',
      'PRAGMA journal_mode(OFF)',
      'PRAGMA main.journal_mode',
      'PRAGMA locking_mode = EXCLUSIVE',
      'PRAGMA max_page_count = 1073741823',
      'PRAGMA page_size = 512',
      "PRAGMA encoding = 'UTF-16'",
      'PRAGMA auto_vacuum = FULL',
      'PRAGMA hard_heap_limit = 1',
      'PRAGMA soft_heap_limit = 1',
      'PRAGMA mmap_size = 1000000000',
      "PRAGMA temp_store_directory = '/tmp'",
      'PRAGMA temp_store = FILE',
      'PRAGMA trusted_schema = ON',
      'PRAGMA foreign_keys = OFF',
      'PRAGMA defer_foreign_keys = ON',
      'PRAGMA ignore_check_constraints = ON',
      'PRAGMA recursive_triggers = ON',
      'PRAGMA query_only = ON',
      'PRAGMA read_uncommitted = ON',
      'PRAGMA case_sensitive_like = ON',
      'PRAGMA legacy_alter_table = ON',
      'PRAGMA cell_size_check = OFF',
      'PRAGMA user_version = 7',
      'PRAGMA application_id(7)',
      'PRAGMA schema_version = 1',
      'PRAGMA cache_size = -1000000',
      'PRAGMA cache_spill = OFF',
      'PRAGMA busy_timeout = 1000000',
      'PRAGMA threads = 8',
      'PRAGMA secure_delete = OFF',
      'PRAGMA wal_autocheckpoint = 0',
      'PRAGMA wal_checkpoint(TRUNCATE)',
      'PRAGMA journal_size_limit = -1',
      'PRAGMA optimize',
      'PRAGMA incremental_vacuum(1)',
      'PRAGMA shrink_memory',
      'PRAGMA database_list',
      'PRAGMA compile_options',
      'PRAGMA function_list',
      'PRAGMA module_list',
      'PRAGMA data_version',
      'SELECT * FROM pragma_database_list',
      'SELECT file FROM pragma_database_list()',
      'SELECT (SELECT file FROM pragma_database_list LIMIT 1)',
      'WITH d AS (SELECT file FROM pragma_database_list) SELECT * FROM d',
      'SELECT * FROM pragma_compile_options',
      'SELECT * FROM pragma_journal_mode',
      'SELECT * FROM dbstat',
      'SELECT count(*) FROM dbstat',
      "SELECT * FROM dbstat('main')",
      "SELECT token FROM fts3tokenize('simple', 'a b')",
      'CREATE VIRTUAL TABLE v USING fts5(x)',
      'CREATE VIRTUAL TABLE v USING fts3(x)',
      'CREATE VIRTUAL TABLE v USING rtree(a, b, c)',
      'CREATE VIRTUAL TABLE v USING dbstat',
      'CREATE VIRTUAL TABLE v USING geopoly(x)',
      'CREATE VIRTUAL TABLE IF NOT EXISTS v USING fts5vocab(notes, row)',
      'CREATE TEMP TABLE hostile (x)',
      'CREATE TEMPORARY TABLE hostile AS SELECT 1',
      'CREATE TABLE temp.hostile (x)',
      'CREATE VIEW temp.hostile AS SELECT 1',
      'CREATE TRIGGER temp.hostile AFTER INSERT ON main.notes BEGIN DELETE FROM notes; END',
      'CREATE TEMP VIEW hostile AS SELECT 1',
      'CREATE TEMP TRIGGER hostile AFTER INSERT ON main.notes BEGIN DELETE FROM notes; END',
      "SELECT sqlite_log(1, 'x')",
      'SELECT sqlite_compileoption_get(1)',
      "SELECT sqlite_compileoption_used('THREADSAFE')",
      'SELECT sqlite_source_id()',
      "SELECT fts3_tokenizer('simple')",
      'SELECT geopoly_debug(1)',
      "SELECT rtreecheck('notes')",
      "SELECT * FROM notes ORDER BY load_extension('x')",
      "SELECT max(body) FILTER (WHERE load_extension('x')) FROM notes"
    ),
    ...all(
      'SQL_TRANSACTION_CONTROL',
      'BEGIN',
      'BEGIN IMMEDIATE',
      'BEGIN EXCLUSIVE TRANSACTION',
      'COMMIT',
      'END TRANSACTION',
      'ROLLBACK',
      'SAVEPOINT hostile',
      'RELEASE hostile',
      'ROLLBACK TO hostile'
    ),
    ...all(
      'SQL_SECOND_STATEMENT',
      'SELECT 1; DROP TABLE notes',
      'SELECT 1;; DELETE FROM notes',
      'SELECT 1; -- x\n DELETE FROM notes',
      'SELECT 1;/* x */ DELETE FROM notes;',
      "SELECT ';'; DELETE FROM notes",
      "INSERT INTO notes VALUES (1); ATTACH 'x' AS y",
      'SELECT 1; garbage'
    ),
    ...all(
      'SQL_ERROR',
      'SELECT body FROM other.notes',
      "INSERT INTO sqlite_master VALUES ('table', 'x', 'x', 2, 'CREATE TABLE x (y)')",
      "UPDATE sqlite_schema SET sql = ''",
      "UPDATE main.sqlite_master SET sql = 'x'",
      'DELETE FROM sqlite_master',
      'DROP TABLE sqlite_master',
      'CREATE TABLE sqlite_hostile (x)',
      'SELECT * FROM sqlite_dbpage',
      'SELECT * FROM sqlite_stmt',
      "SELECT * FROM bytecode('SELECT 1')",
      "SELECT readfile('/etc/passwd')",
      `SELECT writefile('${beside}', 'x')`,
      "SELECT * FROM fsdir('/')",
      "SELECT * FROM csv('/etc/passwd')",
      "SELECT edit('x')",
      "SELECT eval('DROP TABLE notes')",
      "SELECT sqlite_rename_table('x', 'x', 'x', 'x', 'x', 'x', 1)",
      'SELECT * FROM generate_series(1, 1000000000)',
      `SELECT ${'abs('.repeat(300)}1${')'.repeat(300)}`,
      `SELECT ${Array.from({ length: 300 }, () => '1').join(' + ')}`,
      Array.from({ length: 60 }, () => 'SELECT 1').join(' UNION ALL '),
      `SELECT ${Array.from({ length: 600 }, () => '1').join(', ')}`,
      `SELECT max(${Array.from({ length: 120 }, () => '1').join(', ')})`,
      `SELECT '${'x'.repeat(2_000)}' LIKE '${'%_'.repeat(1_000)}'`,
      'SELECT ?5000'
    ),
    ...all(
      'SQL_TOO_BIG',
      'SELECT zeroblob(1000000000)',
      'SELECT randomblob(1000000000)',
      'SELECT hex(zeroblob(900000))',
      "SELECT printf('%1000000000d', 1)",
      "SELECT replace(hex(zeroblob(5000)), '0', hex(zeroblob(5000)))",
      "WITH RECURSIVE c(x) AS (SELECT 'x' UNION ALL SELECT x || x FROM c LIMIT 40) SELECT max(length(x)) FROM c"
    ),
    // What a tenant may do to itself, and see of itself.
    ...all(
      'OK',
      'SELECT name, sql FROM sqlite_master',
      'PRAGMA table_info(notes)',
      'PRAGMA integrity_check',
      'REINDEX',
      'SELECT last_insert_rowid(), changes(), total_changes(), sqlite_version()'
    )
  ]
}

const words = (sql: string, change: (word: string) => string) =>
  sql.replaceAll(/'[^']*'|--[^\n]*|\w+/g, part => (/^['-]/.test(part) ? part : change(part)))

const gaps = (sql: string, gap: string) => sql.replaceAll(/'[^']*'|--[^\n]*| /g, part => (part === ' ' ? gap : part))

/** The same to SQLite. */
export const SPELLINGS: Readonly<Record<string, (sql: string) => string>> = {
  'as it is': sql => sql,
  'in odd case': sql =>
    words(sql, word => [...word].map((c, at) => (at % 2 ? c.toUpperCase() : c.toLowerCase())).join('')),
  'with comments': sql => `/* a */ -- b\n${gaps(sql, '/**/')} -- c`,
  'with odd white space': sql => `\ufeff ;\t${gaps(sql, '\r\n\f')}`
}
