/**
 * Door of compose: how a role is started, the same in both runtimes, and a plan as a Compose document.
 * It runs nothing; runtimes do.
 */

export { type BuildManifest, buildBundles, bundleProgram, type Program } from './build.ts'
export { EngineMissingError, GuestImageError, ImageBuildError } from './errors.ts'
export { IN_CONTAINER, writeHostFiles } from './files.ts'
export { ensureGuest, type Guest, writeInitrd } from './guest.ts'
export { BASE_IMAGE, ensureImages, type ImageProgress } from './images.ts'
export {
  composeDocument,
  LABEL_PREFIX,
  LEG_IMAGE,
  legName,
  projectName,
  type RenderOptions,
  renderCompose
} from './render.ts'
export type { Places, RoleFacts, RoleFile, RoleProcess } from './roles.ts'
export { inventory, publicNodeAddresses, relayAddresses, roleProcess, roles } from './roles.ts'
