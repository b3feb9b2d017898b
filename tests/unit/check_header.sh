#!/bin/sh
# check_header.sh: sluice.h serves an application as it stands, in C and in C++, without a warning; and so does the
# example of its manual page.
set -eu
cd "$(dirname "$0")/../../ring"
cc=${CC:-cc}
warnings="-Wall -Wextra -Wpedantic -Werror"

alone() {
	printf '#include "sluice.h"\nint main(void) { return sluice_reason_text(SLUICE_REASON_NONE) == 0; }\n'
}
# shellcheck disable=SC2086 # words
for language in "c -std=c11" "c -std=gnu17" "c++ -std=c++11" "c++ -std=c++20"; do
	alone | $cc $warnings -fsyntax-only -I . -x $language -
done

example() {
	printf '#include <sluice.h>\nint main(void)\n{\n'
	sed -n '/^\.EX/,/^\.EE/p' sluice.3 | sed '/^\.EE/q' | sed '/^\./d; s/\\-/-/g'
	printf 'sluice_detach(s);\nreturn 0;\n}\n'
}
example | grep -q sluice_attach
# shellcheck disable=SC2086 # words
example | $cc $warnings -fsyntax-only -I . -x c -std=c11 -
