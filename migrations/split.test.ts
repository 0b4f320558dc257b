import assert from 'node:assert/strict'
import { DatabaseSync } from 'node:sqlite'
import fc from 'fast-check'
import { splitStatements } from './split.ts'

const texts = (sql: string) => splitStatements(sql).map(statement => statement.text)

describe('splitting SQL into statements', () => {
  it('ends statements at semicolons, the last one also at the end of the file', () => {
    assert.deepEqual(texts('SELECT 1; SELECT 2 ;\nSELECT 3'), ['SELECT 1', 'SELECT 2', 'SELECT 3'])
  })

  it('drops what is empty', () => {
    assert.deepEqual(texts(''), [])
    assert.deepEqual(texts(' ;;\n ; -- nothing\n/* nothing; */ ;'), [])
  })

  it('passes over semicolons in strings and quoted names, doubled quotes included', () => {
    const sql = `INSERT INTO "a;""b" VALUES ('x;''y;', \`c;\`, [d;'])`
    assert.deepEqual(texts(`${sql}; SELECT 1`), [sql, 'SELECT 1'])
  })

  it('passes over comments, and over quotes and comment marks inside each other', () => {
    assert.deepEqual(
      texts("-- it's; a comment\nSELECT 1 -- inline;\n, 2; /* a ' ; -- */ SELECT '--', '/*'; SELECT 3"),
      ['SELECT 1 -- inline;\n, 2', "SELECT '--', '/*'", 'SELECT 3']
    )
  })

  it('keeps a trigger whole, with CASE … END and quoted ends in its body', () => {
    const trigger = `CREATE TEMP TRIGGER t AFTER INSERT ON a BEGIN
      UPDATE a SET x = CASE WHEN new.x > 1 THEN 'END;' ELSE 2 END;
      SELECT 1; -- ; END ;
      DELETE FROM "END" WHERE x = ';' ; END`
    assert.deepEqual(texts(`${trigger};SELECT 1`), [trigger, 'SELECT 1'])
    assert.deepEqual(texts(`create /* c */ trigger t after delete on a begin select 1; end; select 2`).length, 2)
  })

  it('does not take a name for a trigger', () => {
    assert.deepEqual(texts('CREATE TABLE trigger_log (a); SELECT 1').length, 2)
    assert.deepEqual(texts('CREATE TABLE a (trigger TEXT, begin_at); SELECT 1').length, 2)
  })

  it('gives what is not closed as the last statement', () => {
    assert.deepEqual(texts("SELECT 1; SELECT 'open; SELECT 2"), ['SELECT 1', "SELECT 'open; SELECT 2"])
    assert.deepEqual(texts('SELECT 1; SELECT 2 /* open;'), ['SELECT 1', 'SELECT 2 /* open;'])
    assert.deepEqual(texts('CREATE TRIGGER t AFTER INSERT ON a BEGIN SELECT 1;').length, 1)
  })

  it('says the line and the first words', () => {
    const [first, second] = splitStatements(
      '\ufeff-- why\n\nbegin transaction;\r\ninsert or ignore into main."t" values (1)'
    )
    assert.equal(first?.line, 3)
    assert.deepEqual(first?.words, ['BEGIN', 'TRANSACTION'])
    assert.equal(second?.line, 4)
    assert.deepEqual(second?.words, ['INSERT', 'OR', 'IGNORE', 'INTO', 'MAIN', '.', 'T'])
  })

  it('agrees with SQLite: each piece is one whole statement and together they do what the file does', () => {
    const piece = fc.constantFrom(
      "INSERT INTO log VALUES ('a;b')",
      "INSERT INTO log VALUES ('it''s -- no comment')",
      'INSERT INTO "log" VALUES (";" || 1) -- c; d',
      '/* ; */ INSERT INTO [log] VALUES (/* ; */ 2)',
      'CREATE TRIGGER IF NOT EXISTS t AFTER DELETE ON log BEGIN SELECT 1; SELECT CASE WHEN 1 THEN 2 END; END',
      'DELETE FROM log WHERE x = 2',
      ''
    )
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 12 }), pieces => {
        const sql = pieces.join('\n;')
        const whole = new DatabaseSync(':memory:', { enableDoubleQuotedStringLiterals: true })
        const parts = new DatabaseSync(':memory:', { enableDoubleQuotedStringLiterals: true })
        for (const database of [whole, parts]) database.exec('CREATE TABLE log (x)')
        whole.exec(sql)
        for (const statement of splitStatements(sql)) parts.prepare(statement.text).run()
        const read = (database: DatabaseSync) => database.prepare('SELECT rowid, x FROM log').all()
        assert.deepEqual(read(parts), read(whole))
        assert.equal(splitStatements(sql).length, pieces.filter(text => text !== '').length)
      })
    )
  })
})
