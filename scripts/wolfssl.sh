# shellcheck shell=bash
# shellcheck disable=SC2154 # checkout, cache, logs and jobs are set by dev
# wolfSSL from source, once per version and set of flags, in a cache outside the checkout. Sourced by dev, whose
# say, die, logged, $cache and $jobs it uses; sets $wolfssl.

readonly wolfssl_minimum=5.9.2
# shellcheck disable=SC2054 # the comma belongs to an option
readonly wolfssl_flags=(
	--enable-static --disable-shared --enable-dtls --enable-dtls13 --enable-dtlscid --enable-dtls-mtu
	--enable-dtls-frag-ch --enable-hrrcookie --enable-psk --enable-rpk --enable-aesccm --enable-aesgcm
	--enable-chacha --enable-poly1305 --enable-dh --enable-ecc --enable-sni --enable-maxfragment
	--enable-extended-master --enable-supportedcurves --enable-session-ticket --enable-ocsp
	--enable-ocspstapling --enable-crl --disable-crl-monitor --enable-keying-material
	--enable-sessionexport --enable-atomicuser --enable-secure-renegotiation-info --enable-curve25519
	--enable-sp=yes,4096 --enable-sp-asm --enable-intelasm --enable-aesni --disable-mlkem
	--disable-oldtls --disable-sys-ca-certs --disable-examples --disable-crypttests --disable-hashdrbg
)
# Portable code: wolfSSL's assembly looks for AVX and the like at run time. Its randomness comes from
# crypto/random.c through the forced header.
readonly wolfssl_cflags="-O2 -march=x86-64-v2"
readonly wolfssl_defines="-DHAVE_SECRET_CALLBACK -DWOLFSSL_STATIC_PSK -DWOLFSSL_ALWAYS_VERIFY_CB \
-DWOLFSSL_PSK_IDENTITY_ALERT -DKEEP_PEER_CERT -DWOLFSSL_TICKET_EXTRA_PADDING_SZ=512 -DCUSTOM_RAND_GENERATE_BLOCK=random_block"

# Prints "URI" of the Debian archive that this machine uses, from one-line and deb822 sources alike. The
# entry that carries the release's own suite is the archive; security and third-party ones do not.
debian_mirror() {
	local codename
	# shellcheck source=/dev/null
	codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
	{ cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list 2>/dev/null || true; } |
		sed -E 's/#.*//; s/\[[^]]*\]//' |
		awk -v suite="$codename" '$1 ~ /^deb/ && $3 == suite { print $2 }'
	{ cat /etc/apt/sources.list.d/*.sources 2>/dev/null || true; } | awk -v RS= -v suite="$codename" '
		/(^|\n)Enabled: *no/ { next }
		{
			uri = ""; found = 0; count = split($0, lines, "\n")
			for (i = 1; i <= count; i++) {
				words = split(lines[i], word, /[ \t]+/)
				if (word[1] == "URIs:") uri = word[2]
				if (word[1] == "Suites:") for (j = 2; j <= words; j++) if (word[j] == suite) found = 1
			}
			if (found && uri != "") print uri
		}'
}

# wolfssl_fetch FOLDER: the source archive of Debian sid, verified by apt, without a change to the
# machine's own apt. --tar-only, because the newest .dsc is not always there; a mirror that lags behind will do,
# because the version is checked.
wolfssl_fetch() {
	local folder=$1 mirror keyring=/usr/share/keyrings/debian-archive-keyring.gpg options
	mkdir -p "$folder/lists/partial" "$folder/cache/archives/partial"
	mirror=$(debian_mirror | sed -nE '/^(https?|file|copy|ftp):/{p;q}')
	if [ -z "$mirror" ]; then
		echo "no Debian archive found in /etc/apt/sources.list and /etc/apt/sources.list.d"
		return 1
	fi
	echo "deb-src [signed-by=$keyring] $mirror sid main" >"$folder/sources.list"
	options=(
		-o Dir::Etc::sourcelist="$folder/sources.list" -o Dir::Etc::sourceparts=/dev/null
		-o Dir::Etc::preferences=/dev/null -o Dir::Etc::preferencesparts=/dev/null
		-o Dir::State::lists="$folder/lists" -o Dir::Cache="$folder/cache"
		-o APT::Sandbox::User="$(id -un)" -o Acquire::Retries=3 -o Acquire::Languages=none
		-o Acquire::Check-Valid-Until=false
	)
	apt-get "${options[@]}" update || return
	(cd "$folder" && apt-get "${options[@]}" source --tar-only --download-only wolfssl)
}

# wolfssl_build ARCHIVE PREFIX WORK: configured for PREFIX, installed aside, and moved there in one step.
wolfssl_build() {
	local archive=$1 prefix=$2 work=$3 staged
	staged=$work/staged
	mkdir -p "$work/source"
	tar -xf "$archive" -C "$work/source" --strip-components=1 || return
	cp crypto/wolfssl_random.h "$work/" || return
	(
		cd "$work/source" &&
			{ [ -x configure ] || ./autogen.sh; } &&
			./configure --prefix="$prefix" "${wolfssl_flags[@]}" CFLAGS="$wolfssl_cflags" \
				CPPFLAGS="$wolfssl_defines -include $work/wolfssl_random.h" &&
			make -j "$jobs" && make install DESTDIR="$staged"
	) || return
	cp crypto/wolfssl_random.h "$staged$prefix/include/" || return
	mv -T "$staged$prefix" "$prefix"
}

wolfssl_version_of() {
	basename "$1" | sed -nE 's/^wolfssl[_-]([0-9.]+)(-stable)?(\.orig)?\.tar\..*/\1/p'
}

# Sets $wolfssl to the prefix of a build with our flags; makes it when there is none yet.
need_wolfssl() {
	local key work archive version
	key=$({
		echo "${wolfssl_flags[*]} $wolfssl_cflags $wolfssl_defines $(uname -m)"
		cat crypto/wolfssl_random.h
	} | sha256sum | cut -c 1-12)
	mkdir -p "$cache"
	exec 8>"$cache/lock"
	flock -n 8 || { echo "waiting for another build of wolfSSL ..." && flock 8; }
	wolfssl=$(find "$cache" -maxdepth 1 -type d -name "wolfssl-*-$key" | sort -V | tail -n 1)
	if [ -n "$wolfssl" ]; then
		say "wolfSSL: $wolfssl"
		exec 8>&-
		return
	fi
	work=$(mktemp -d "$cache/work.XXXXXX")
	# shellcheck disable=SC2064 # this run's folder, by its name of now
	trap "rm -rf '$work'" EXIT
	archive=${WOLFSSL_TARBALL:-}
	if [ -z "$archive" ]; then
		say "fetching wolfSSL's source from Debian"
		logged wolfssl-fetch wolfssl_fetch "$work" ||
			die "wolfSSL's source could not be fetched; WOLFSSL_TARBALL=FILE names one of your own"
		archive=$(find "$work" -maxdepth 1 -name 'wolfssl_*.orig.tar.*' | head -n 1)
	else
		say "wolfSSL's source: $archive"
	fi
	[ -r "$archive" ] || die "cannot read wolfSSL's source archive '$archive'"
	version=$(wolfssl_version_of "$archive")
	dpkg --compare-versions "${version:-0}" ge "$wolfssl_minimum" ||
		die "$archive: need wolfSSL $wolfssl_minimum or newer, by a name like wolfssl_$wolfssl_minimum.orig.tar.gz"
	echo "      building wolfSSL $version (once, about 90 s) ..."
	wolfssl=$cache/wolfssl-$version-$key
	logged wolfssl-build wolfssl_build "$(readlink -f "$archive")" "$wolfssl" "$work" || die "wolfSSL did not build"
	rm -rf "$work"
	trap - EXIT
	exec 8>&-
}
