/* SPDX-License-Identifier: MIT */
/* tree.h - libbsd's red-black trees, with the attribute macro they need */
#ifndef _SENTRY_TREE_H
#define _SENTRY_TREE_H

#include <bsd/sys/cdefs.h>

#ifndef __unused
#define __unused __attribute__((__unused__))
#endif

#include <bsd/sys/tree.h>

#endif /* _SENTRY_TREE_H */
