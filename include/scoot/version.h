/* SPDX-License-Identifier: MIT */
/* The version of Scoot. The one place: the build reads it from here. */
#ifndef SCOOT_VERSION_H
#define SCOOT_VERSION_H

#define SCOOT_VERSION_MAJOR 0
#define SCOOT_VERSION_MINOR 1
#define SCOOT_VERSION_PATCH 0
#define SCOOT_VERSION "0.1.0"

#endif
