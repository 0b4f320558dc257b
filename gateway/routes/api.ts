/** The API described: /openapi.json and /docs. Public. */
import { describeApi } from '../api/description.ts'
import { DOCS_HEADERS, docsPage } from '../api/docs.ts'
import { operations } from '../api/index.ts'
import { type GatewayMiddleware, type Route, route } from '../http.ts'

export function apiRoutes({ config }: { config: { version: string } }): Route[] {
  // Made when they are first asked for: a gateway starts sooner without.
  let document: string | undefined
  let page: string | undefined

  const openapi: GatewayMiddleware = context => {
    document ??= JSON.stringify(describeApi(operations, config))
    context.set('Cache-Control', 'no-cache')
    context.type = 'application/json; charset=utf-8'
    context.body = document
  }

  const docs: GatewayMiddleware = context => {
    page ??= docsPage(operations, config)
    context.set(DOCS_HEADERS)
    context.type = 'text/html; charset=utf-8'
    context.body = page
  }

  return [route('GET', '/openapi.json', openapi), route('GET', '/docs', docs)]
}
