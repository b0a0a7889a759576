// SPDX-License-Identifier: MIT
/*
 * null_write.c - writes through a null pointer, after it has said so
 */
#include <stdio.h>

int main(void)
{
	volatile int *volatile nowhere = NULL;

	puts("about to write");
	fflush(stdout);
	*nowhere = 1;
	puts("still there");
	return 0;
}
