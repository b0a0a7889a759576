// SPDX-License-Identifier: MIT
#include "sentry/fs/internal.h"
void epoll_forget(struct file *f)
{
}
