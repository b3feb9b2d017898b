# shellcheck shell=bash
# shellcheck disable=SC2154 # checkout, cache, logs and jobs are set by dev
# What ./dev test, lint and fuzz run. Sourced by dev, whose say, check, build_* and counts it uses.

# The sanitizers of these compilers do not know the widest address randomisation of newer kernels.
fixed_layout() {
	if setarch -R true 2>/dev/null; then
		setarch -R "$@"
	else
		"$@"
	fi
}

# meson_tests FOLDER PROCESSES ARGUMENT...: runs them, shows one line per test program, counts what they report, and tells
# what was left out, since that has shown nothing.
meson_tests() {
	local folder=$1 processes=$2 status=0 report good bad skipped
	shift 2
	report=$folder/meson-logs/testlog.junit.xml
	rm -f "$report"
	fixed_layout meson test -C "$folder" --no-rebuild --print-errorlogs --num-processes "$processes" "$@" </dev/null || status=$?
	read -r good bad skipped < <(/usr/bin/python3 - "$report" <<'END'
import os, sys, xml.etree.ElementTree as tree
good = bad = skipped = 0
if os.path.exists(sys.argv[1]):
    for case in tree.parse(sys.argv[1]).getroot().iter("testcase"):
        if case.find("failure") is not None or case.find("error") is not None:
            bad += 1
        elif case.find("skipped") is not None:
            skipped += 1
        else:
            good += 1
print(good, bad, skipped)
END
	)
	[ "$status" -eq 0 ] || [ "$bad" -gt 0 ] || bad=1
	[ "$skipped" -eq 0 ] || echo "  $skipped skipped: what they need is not here (see $folder/meson-logs/testlog.txt)"
	passed=$((passed + good))
	failed=$((failed + bad))
}

# stage_build NAME: a build that fails is one failed test.
stage_build() {
	local before=$failed
	check "build-$1" "build_$1"
	[ "$failed" -eq "$before" ]
}

test_release() {
	say "release build: unit and system tests${asan_follows:+; interop tests come with the sanitizers}"
	stage_build release || return 0
	meson_tests build "$jobs" --no-suite interop --timeout-multiplier 3
	[ -n "$asan_follows" ] || meson_tests build "$interop_jobs" --suite interop --timeout-multiplier 3
}

test_asan() {
	say "AddressSanitizer and UndefinedBehaviorSanitizer: unit and interop tests"
	stage_build asan || return 0
	export ASAN_OPTIONS=detect_leaks=1:detect_stack_use_after_return=1 UBSAN_OPTIONS=print_stacktrace=1
	meson_tests build-asan "$jobs" --suite unit --timeout-multiplier 3
	meson_tests build-asan "$interop_jobs" --suite interop --timeout-multiplier 3
	unset ASAN_OPTIONS UBSAN_OPTIONS
}

test_tsan() {
	say "ThreadSanitizer: unit tests"
	stage_build tsan || return 0
	TSAN_OPTIONS=halt_on_error=1:second_deadlock_stack=1 \
		meson_tests build-tsan "$jobs" --suite unit --timeout-multiplier 5
}

# fuzz_one PROGRAM SECONDS: from the corpus in the checkout; what is new goes to .cache/fuzz.
fuzz_one() {
	local name found corpus=() dictionary=()
	name=$(basename "$1")
	found=$checkout/.cache/fuzz/$name
	mkdir -p "$found"
	[ ! -d "tests/fuzz/corpus/${name#fuzz_}" ] || corpus=("tests/fuzz/corpus/${name#fuzz_}")
	[ ! -f "tests/fuzz/${name#fuzz_}.dict" ] || dictionary=(-dict="tests/fuzz/${name#fuzz_}.dict")
	fixed_layout "$1" -max_total_time="$2" -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 \
		-artifact_prefix="$found/" "${dictionary[@]}" "$found" "${corpus[@]}"
}

fuzz_all() {
	local seconds=$1 program programs
	stage_build fuzz || return 0
	mapfile -t programs < <(find build-fuzz -type f -name 'fuzz_*' -perm -u+x | sort)
	for program in "${programs[@]}"; do
		check "$(basename "$program")" fuzz_one "$program" "$seconds"
	done
}

test_fuzz() {
	say "fuzzing, 5 s each"
	fuzz_all 5
}

test_testbed() {
	say "the container testbed"
	if docker_works; then
		check testbed testbed_docker
		return
	fi
	if [ "$(id -u)" -ne 0 ]; then
		echo "  skipped: without a Docker engine it needs root"
		return
	fi
	testbed_environment
	check testbed-base testbed_base
	check testbed-image testbed_image
	check testbed testbed_podman
}

run_tests() {
	local stage asan_follows="" interop_jobs=$((2 * jobs)) # these wait for their clients most of the time
	[[ " $* " != *" release "*"asan "* ]] || asan_follows=yes
	for stage; do
		"test_$stage"
	done
}

# ---- lint

files_c() { git ls-files -- '*.c' '*.h'; }

files_shell() {
	git ls-files -- '*.sh'
	git ls-files | while read -r file; do
		case $file in
		*.*) ;;
		*) if head -n 1 "$file" | grep -qaE '^#!.*[ /](ba)?sh( |$)'; then echo "$file"; fi ;;
		esac
	done
	echo .ci/run
}

lint_format() { files_c | xargs clang-format --dry-run -Werror; }
lint_shell() { files_shell | sort -u | xargs shellcheck -x; }
lint_python() { git ls-files -- '*.py' | xargs -r /usr/bin/python3 -m pyflakes; }

# Only files that the build compiles; what is in the compilation database twice is looked at once.
lint_tidy() {
	/usr/bin/python3 - <<'END' | xargs -r -n 1 -P "$jobs" clang-tidy -p build-clang --quiet
import json, os
names = {os.path.realpath(os.path.join(entry["directory"], entry["file"]))
         for entry in json.load(open("build-clang/compile_commands.json"))}
print("\n".join(sorted(n for n in names if n.endswith(".c") and "/build" not in n[len(os.getcwd()):])))
END
}

run_lint() {
	say "lint"
	check format lint_format
	check shellcheck lint_shell
	check python lint_python
	check gcc build_release
	check clang build_clang
	check clang-tidy lint_tidy
}
