/** Statements prepared once: of constant texts of the program, so that there is a bounded number of them. */

/** @param prepare of one connection, which must outlive the answer */
export function preparing<Statement>(prepare: (sql: string) => Statement): (sql: string) => Statement {
  const statements = new Map<string, Statement>()
  return sql => {
    const known = statements.get(sql)
    if (known !== undefined) return known
    const statement = prepare(sql)
    statements.set(sql, statement)
    return statement
  }
}
