# SPDX-License-Identifier: MIT
#
# foreign-races.awk - a kernel's log without the data races that are none of the module's
#
# The kernel's own data races are no concern of ours: this leaves out the reports
# of KCSAN, from one ruler of "=" to the next, where neither access is the module's.
# An access is the first frame's below "of N bytes by ...", if that is no mere helper.

function flush()
{
	if (report != "" && (ours || report !~ /BUG: KCSAN/))
		printf "%s", report
	report = ""
	ours = top = 0
}

BEGIN {
	while (length(ruler) < 66)
		ruler = ruler "="
}

index($0, ruler) {
	inside = !inside
	if (!inside)
		flush()
	next
}

# A log that is short of memory may have lost the ruler.
!inside && /BUG: KCSAN/ { inside = 1 }

!inside { print; next }

{ report = report $0 "\n" }

/ of [0-9]+ bytes by / { top = 1; next }

top && !/ (_copy_(to|from)_user|__list_(add|del_entry)_valid)\+/ {
	if (/\[sandtrap\]| sandtrap_/)
		ours = 1
	top = 0
}

END { flush() }
