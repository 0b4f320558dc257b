/** `GET /docs`: the operations as a page. It has no script and loads nothing. Pure. */
import { inline, pageHeaders } from '../page/headers.ts'
import { Html, html, type Insertable } from '../page/html.ts'
import { errorsOf, formsOf, type Json, queryOf, schemaOf } from './description.ts'
import { ACCESS, type Answer, failure, type Operation } from './operation.ts'

const STYLE = `
:root { color-scheme: light dark; --ink: #1c2430; --soft: #5b6675; --line: #d5dae1; --paper: #f6f7f9; --link: #2b5fc4 }
@media (prefers-color-scheme: dark) { :root { --ink: #e6eaf0; --soft: #9aa6b5; --line: #323b48; --paper: #1a2029; --link: #7aa7ff } }
body { margin: 0 auto; max-width: 60rem; padding: 1.5rem; color: var(--ink); font: 16px/1.5 system-ui, sans-serif }
h1 { font-size: 1.5rem; margin: 0 } h2 { font-size: 1.2rem; margin: 2.5rem 0 .5rem } h3 { font-size: 1rem; margin: 0 }
a { color: var(--link) } p { margin: .35rem 0 } nav ul { padding-left: 1.2rem } .soft { color: var(--soft) }
article { border: 1px solid var(--line); border-radius: .5rem; padding: .8rem 1rem; margin: .8rem 0 }
code, pre { font: .88rem/1.45 ui-monospace, monospace } pre { background: var(--paper); padding: .5rem .7rem; margin: .35rem 0; white-space: pre-wrap; overflow-wrap: anywhere }
table { border-collapse: collapse; width: 100%; font-size: .92rem; margin: .5rem 0 }
th, td { text-align: left; vertical-align: top; padding: .25rem .5rem .25rem 0; border-top: 1px solid var(--line) }
th { font-weight: 600; width: 12rem; overflow-wrap: anywhere } summary { cursor: pointer }
`

export const DOCS_HEADERS: Readonly<Record<string, string>> = pageHeaders([`style-src ${inline(STYLE)}`])

/** The whole page. */
export function docsPage(operations: readonly Operation[], { version }: { version: string }): string {
  const tags = [...new Set(operations.map(({ tag }) => tag))]
  return html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Warren gateway: API</title>
<style>${new Html(STYLE)}</style>
</head>
<body>
<header>
<h1>Warren gateway: API</h1>
<p class="soft">Version ${version}. The same for programs: <a href="/openapi.json">/openapi.json</a>. The network: <a href="/">/</a>.</p>
</header>
<nav aria-label="Areas"><ul>${tags.map(tag => html`<li><a href="#${anchorOf(tag)}">${tag}</a></li>`)}</ul></nav>
<main>
<section aria-label="Errors"><h2>Errors</h2>
<p>Every error is ${codeOf(schemaOf(failure, 'output'))} where the code is stable.</p></section>
${tags.map(
  tag => html`<section aria-labelledby="${anchorOf(tag)}"><h2 id="${anchorOf(tag)}">${tag}</h2>
${operations.filter(operation => operation.tag === tag).map(article)}</section>
`
)}</main>
</body>
</html>
`.text
}

function article(operation: Operation): Html {
  const { at, summary, description, access, body } = operation
  return html`<article>
<h3>${summary}</h3>
<p>${at.map(route => html`<code>${route}</code> `)}<span class="soft">${ACCESS[access].words}</span></p>
${description !== undefined && html`<p>${description}</p>`}
${table('Asked with', [
  ...Object.entries(operation.params ?? {}).map(([name, meaning]) => row(`:${name}`, meaning)),
  ...Object.entries(queryOf(operation)).map(([name, field]) => row(`?${name}=`, field.description)),
  ...Object.entries(operation.headers ?? {}).map(([name, meaning]) => row(`${name}:`, meaning)),
  ...(body === undefined ? [] : formsOf(body)).map(([type, form]) =>
    row('body', [type, typeof form === 'string' ? '' : codeOf(schemaOf(form, 'input'))])
  )
])}
${table('Answered with', [
  ...Object.entries(operation.answers).map(([status, answer]) => row(status, answerWords(answer))),
  ...[...errorsOf(operation)].map(([status, codes]) => row(status, html`<code>${codes.join(', ')}</code>`))
])}
</article>
`
}

function answerWords({ description, headers = {}, body }: Answer): Insertable {
  return [
    description,
    Object.keys(headers).length > 0 &&
      html`<br><span class="soft">${Object.entries(headers)
        .map(([name, meaning]) => `${name}: ${meaning}`)
        .join('; ')}</span>`,
    (body === undefined ? [] : formsOf(body)).map(
      ([type, form]) => html`<br>${type}${typeof form !== 'string' && codeOf(schemaOf(form, 'output'))}`
    )
  ]
}

function table(caption: string, rows: readonly Html[]): Html | false {
  return rows.length > 0 && html`<table aria-label="${caption}">${rows}</table>`
}

function row(name: string, meaning: Insertable): Html {
  return html`<tr><th scope="row"><code>${name}</code></th><td>${meaning}</td></tr>`
}

function codeOf(schema: Json): Html {
  return html`<pre>${typeWords(schema)}</pre>`
}

function anchorOf(tag: string): string {
  return tag.toLowerCase().replace(/[^a-z0-9]+/g, '-')
}

/** A JSON schema as one writes a type. */
function typeWords(schema: Json, indent = ''): string {
  if (schema.const !== undefined) return JSON.stringify(schema.const)
  if (Array.isArray(schema.enum)) return schema.enum.map(item => JSON.stringify(item)).join(' | ')
  if (Array.isArray(schema.anyOf)) return schema.anyOf.map(item => typeWords(item as Json, indent)).join(' | ')
  if (schema.type === 'array') {
    const items = typeWords((schema.items ?? {}) as Json, indent)
    return items.includes(' | ') ? `Array<${items}>` : `${items}[]`
  }
  if (schema.type !== 'object') return String(schema.type ?? 'any')
  const required = new Set((schema.required ?? []) as string[])
  const fields = Object.entries((schema.properties ?? {}) as Record<string, Json>).map(([name, field]) => {
    const meaning = typeof field.description === 'string' ? `  // ${field.description}` : ''
    return `${indent}  ${name}${required.has(name) ? '' : '?'}: ${typeWords(field, `${indent}  `)}${meaning}\n`
  })
  return fields.length === 0 ? '{ … }' : `{\n${fields.join('')}${indent}}`
}
