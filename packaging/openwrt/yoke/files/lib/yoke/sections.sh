# The sections of /etc/config/network and /etc/config/firewall that a router with yoke needs, made from /etc/config/bonding.
#
#   network.yoke              the bond's device; netifd leaves it alone (proto none), the firewall knows it by this name
#   network.yoke_t_LINK       the tunnel of a link (engine openvpn), the same
#   firewall.yoke             the bond's zone. yoke translates addresses itself, so masq is off
#   firewall.yoke_test        the speed test's port, open to the server
#   firewall.yoke_tunnels     the tunnels' zone: nothing of their own comes out of them
#   firewall.yoke_from_ZONE   what may go out by the links' zone may go out by the bond
#   firewall.yoke_in_LINK     the link's own port is open to its server, and to nobody else
#
# Sections with these names are ours: they are set where they differ and removed where nothing asks for them, so that the same call
# twice changes nothing. All others stay as they are.
#
# shellcheck shell=dash
# shellcheck disable=SC3043 # local: ash has it

# The engine of the configuration: multipath or openvpn.
yoke_engine() {
	local engine
	engine="$(uci -q get bonding.bond.engine)"
	if [ -z "$engine" ] && uci -q -X show bonding | grep -Eq "^bonding\.[^.=]*='?openvpn(-server)?'?\$"; then
		engine=openvpn
	fi
	echo "${engine:-multipath}"
}

# yoke_names PACKAGE TYPE: the names of the sections of a type
yoke_names() {
	uci -q -X show "$1" | sed -n "s/^$1\.\([^.=]*\)='\{0,1\}$2'\{0,1\}\$/\1/p"
}

# yoke_put KEY VALUE: sets an option or makes a section
yoke_put() {
	[ "$(uci -q get "$1")" = "$2" ] && return 0
	uci set "$1=$2"
	YOKE_CHANGED="$YOKE_CHANGED ${1%%.*}"
}

# yoke_section PACKAGE NAME TYPE [OPTION VALUE]...: makes a section what it should be
yoke_section() {
	local package="$1" name="$2" option
	yoke_put "$package.$name" "$3"
	shift 3
	while [ $# -ge 2 ]; do
		option="$package.$name.$1"
		yoke_put "$option" "$2"
		shift 2
	done
	YOKE_WANTED="$YOKE_WANTED $package.$name "
}

# yoke_sweep PACKAGE: removes sections of ours that nothing asks for
yoke_sweep() {
	local name
	for name in $(uci -q -X show "$1" | sed -n "s/^$1\.\(yoke\(_[A-Za-z0-9_]*\)\{0,1\}\)=.*/\1/p"); do
		case "$YOKE_WANTED" in
		*" $1.$name "*) ;;
		*)
			uci delete "$1.$name"
			YOKE_CHANGED="$YOKE_CHANGED $1"
			;;
		esac
	done
}

# yoke_zone_of INTERFACE: the name of the zone that a logical interface is in; wan when it is in none
yoke_zone_of() {
	local zone network
	for zone in $(yoke_names firewall zone); do
		for network in $(uci -q get "firewall.$zone.network"); do
			if [ "$network" = "$1" ]; then
				uci -q get "firewall.$zone.name"
				return 0
			fi
		done
	done
	echo wan
}

# yoke_is_on LINK: neither disabled nor not enabled
yoke_is_on() {
	case "$(uci -q get "bonding.$1.disabled")" in 1 | on | yes | true | enabled) return 1 ;; esac
	case "$(uci -q get "bonding.$1.enabled")" in 0 | off | no | false | disabled) return 1 ;; esac
	return 0
}

yoke_router_sections() {
	local engine link interface zone zones='' tunnel tunnels='' port server section source remote
	engine="$(yoke_engine)"
	yoke_section network yoke interface proto none device "$(uci -q get bonding.bond.ifname || echo bond0)"
	yoke_section firewall yoke zone name yoke network yoke input REJECT output ACCEPT forward REJECT masq 0 mtu_fix 1
	remote="$(uci -q get bonding.bond.remote_ipaddr)"
	if [ -n "$remote" ]; then
		yoke_section firewall yoke_test rule name yoke-test src yoke proto tcp src_ip "$remote" \
			dest_port "$(uci -q get bonding.bond.test_port || echo 30327)" target ACCEPT
	fi

	for link in $(yoke_names bonding link); do
		yoke_is_on "$link" || continue
		interface="$(uci -q get "bonding.$link.interface")"
		zone="$(yoke_zone_of "$interface")"
		case " $zones " in *" $zone "*) ;; *) zones="$zones $zone" ;; esac
		tunnel="$(uci -q get "bonding.$link.tunnel")"
		if [ "$engine" = openvpn ] && [ -n "$tunnel" ]; then
			yoke_section network "yoke_t_$link" interface proto none device "$tunnel"
			tunnels="$tunnels${tunnels:+ }yoke_t_$link"
		fi
		port="$(uci -q get "bonding.$link.local_port")"
		server="$(uci -q get "bonding.$link.server")"
		[ "${port:-0}" = 0 ] && continue
		case "$server" in
		*[!0-9a-fA-F:.]* | '')
			# the firewall wants an address. What answers the router comes in without a rule
			;;
		*)
			yoke_section firewall "yoke_in_$link" rule name "yoke-$link" src "$zone" proto udp src_ip "$server" \
				dest_port "$port" target ACCEPT
			;;
		esac
	done
	if [ -n "$tunnels" ]; then
		yoke_section firewall yoke_tunnels zone name yoketun network "$tunnels" input DROP output ACCEPT forward DROP
	fi

	for section in $(yoke_names firewall forwarding); do
		source="$(uci -q get "firewall.$section.src")"
		for zone in $zones; do
			[ "$(uci -q get "firewall.$section.dest")" = "$zone" ] || continue
			yoke_section firewall "yoke_from_$(echo "$source" | tr -c 'A-Za-z0-9\n' _)" forwarding src "$source" dest yoke
		done
	done
}

# Writes what is missing, removes what is too much, and has network and firewall read it when something changed.
yoke_sections() {
	local package
	YOKE_CHANGED=''
	YOKE_WANTED=''
	if [ "$(uci -q get bonding.bond)" = interface ] && [ "$(uci -q get bonding.bond.role)" != server ]; then
		yoke_router_sections
	fi
	for package in network firewall; do
		yoke_sweep "$package"
		case "$YOKE_CHANGED" in
		*"$package"*)
			uci commit "$package"
			[ -x "${IPKG_INSTROOT}/etc/init.d/$package" ] && [ -z "$YOKE_NO_RELOAD" ] &&
				"${IPKG_INSTROOT}/etc/init.d/$package" reload
			;;
		esac
	done
	return 0
}
