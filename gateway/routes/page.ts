/** The page for a person: `GET /`. */
import { type GatewayMiddleware, type Route, route } from '../http.ts'
import type { NetworkWatch } from '../network/watch.ts'
import { PAGE_HEADERS, page } from '../page/page.ts'

export function pageRoutes({ watch }: { watch: NetworkWatch }): Route[] {
  const show: GatewayMiddleware = async context => {
    context.set(PAGE_HEADERS)
    context.type = 'text/html; charset=utf-8'
    context.body = page(await watch.view())
  }
  return [route('GET', '/', show)]
}
