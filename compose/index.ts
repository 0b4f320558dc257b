/**
 * Door of compose: how a role is started, the same in both runtimes, and a plan as a Compose document.
 * It does not run anything; runtimes do.
 */

export type { Places, RoleFacts, RoleFile, RoleProcess } from './roles.ts'
export { inventory, publicNodeAddresses, relayAddresses, roleProcess, roles } from './roles.ts'
