/* SPDX-License-Identifier: MIT */
/* What the library exports. Symbols are hidden unless marked, so that the ABI is what these headers say and no more. */
#ifndef SCOOT_EXPORT_H
#define SCOOT_EXPORT_H

#if defined(__GNUC__) && !defined(SCOOT_STATIC)
#define SCOOT_EXPORT __attribute__((visibility("default")))
#else
#define SCOOT_EXPORT
#endif

#endif
