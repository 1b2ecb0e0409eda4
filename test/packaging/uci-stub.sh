# OpenWrt's `uci` as far as the package's scripts use it: get, set, delete, show, commit.
# A package is a file $UCI_DB/PACKAGE of lines PACKAGE.SECTION=TYPE and PACKAGE.SECTION.OPTION=VALUE.
# shellcheck shell=dash
while :; do
	case "$1" in -q | -X) shift ;; *) break ;; esac
done
key="${2%%=*}"
file="$UCI_DB/${key%%.*}"
[ -f "$file" ] || exit 1
case "$1" in
get)
	awk -v k="$key=" 'index($0, k) == 1 { print substr($0, length(k) + 1); found = 1 } END { exit !found }' "$file"
	;;
show)
	sed "s/^\([^=.]*\.[^=.]*\.[^=.]*\)=\(.*\)/\1='\2'/" "$file"
	;;
set)
	rest="${key#*.}"
	section="${key%%.*}.${rest%%.*}"
	case "$rest" in *.*) grep -Fq "$section=" "$file" || exit 1 ;; esac
	awk -v k="$key=" -v line="$2" 'index($0, k) == 1 { print line; found = 1; next } { print } END { if (!found) print line }' \
		"$file" >"$file.new" && mv "$file.new" "$file"
	;;
delete)
	awk -v k="$key" 'index($0, k "=") != 1 && index($0, k ".") != 1' "$file" >"$file.new" && mv "$file.new" "$file"
	;;
commit) ;;
*) exit 255 ;;
esac
