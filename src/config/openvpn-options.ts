/**
 * Every option that an `openvpn` or `openvpn-server` section may have, and what becomes of it: the article's two lists, and what today's
 * OpenVPN has beside them. Each was tried on OpenVPN 2.6.14 in a tunnel of one peer (TLS, TAP, UDP).
 *
 *   flag, value     handed on: `persist_key '1'` → `persist-key`, `reneg_sec '3600'` → `reneg-sec 3600`
 *   file            the same; its first word is a file that must be there
 *   left out        with the reason, which is told in one line: removed from OpenVPN, or yoke's own business, or for many clients
 *   changed         by openvpn.ts, which knows what the modern form is
 */

/** What becomes of an option. */
export type Treatment =
  | { readonly kind: 'flag' | 'value' | 'file' | 'changed' }
  | { readonly kind: 'left out'; readonly why: string };

const FLAGS = `auth_nocache disable_occ down_pre fast_io float ifconfig_nowarn mlock mtu_test multihome mute_replay_warnings passtos persist_key
  persist_local_ip persist_remote_ip persist_tun ping_timer_rem single_session suppress_timestamps tls_exit up_restart`;

const VALUES = `auth bcast_buffers chroot connect_retry connect_retry_max connect_timeout dev_node down engine explicit_exit_notify
  fragment group hand_window inactive ipchange link_mtu lladdr mtu_disc mute nice ping ping_exit ping_restart plugin rcvbuf remap_usr1 remote_cert_eku
  remote_cert_ku remote_cert_tls reneg_bytes reneg_pkts reneg_sec replay_persist replay_window resolv_retry script_security setenv shaper sndbuf
  socks_proxy status status_version tcp_queue_limit tls_cipher tls_timeout tls_verify tmp_dir tran_window tun_mtu tun_mtu_extra txqueuelen up user verb
  allow_compression capath data_ciphers data_ciphers_fallback ecdh_curve key_direction peer_fingerprint providers push_peer_info socket_flags tls_cert_profile
  tls_ciphersuites tls_groups tls_version_max tls_version_min verify_hash verify_x509_name x509_username_field`;

const FILES = 'askpass ca cert crl_verify extra_certs key pkcs12 secret tls_auth tls_crypt tls_crypt_v2';

const CHANGED =
  'cipher client comp_lzo dev_type dh keepalive key_method mssfix ns_cert_type proto server tls_client tls_remote tls_server up_delay';

const LEFT_OUT: Readonly<Record<string, string>> = {
  'OpenVPN has removed it': 'client_cert_not_required ifconfig_pool_linear keysize no_iv no_name_remapping',
  'it does nothing any more':
    'comp_noadapt http_proxy_retry http_proxy_timeout opt_verify prng socks_proxy_retry tun_ipv6',
  'it cannot be used with the ciphers of today': 'no_replay',
  'compression is not used: it weakens encryption': 'compress',
  'it is for a server of many clients, and a tunnel of the bond has one peer': `auth_user_pass_optional auth_user_pass_verify ccd_exclusive
    client_config_dir client_connect client_disconnect client_to_client connect_freq duplicate_cn hash_size ifconfig_pool ifconfig_pool_persist
    ifconfig_push iroute learn_address max_clients max_routes_per_client push push_reset server_bridge username_as_common_name disable`,
  'the tunnels are known by their certificates, not by a password': 'auth_retry auth_user_pass',
  'it is for TCP, and the tunnels are UDP': 'http_proxy http_proxy_option port_share remote_random tcp_nodelay',
  'addresses and routes are those of the bond, not of its tunnels': `ifconfig ifconfig_noexec pull redirect_gateway route route_delay route_gateway
    route_metric route_noexec route_nopull route_up topology`,
  'each tunnel is tied to its link': 'bind bind_dev dev local lport mark nobind port remote rport',
  'yoke starts, watches and ends the tunnels itself': `daemon log log_append management management_client management_forget_disconnect management_hold
    management_log_cache management_query_passwords management_signal mktun mode rmtun syslog test_crypto writepid`,
};

const words = (text: string) => text.split(/\s+/).filter(Boolean);

/** Treatments by name, with `_` as the file writes it. */
export const OPENVPN_OPTIONS: ReadonlyMap<string, Treatment> = new Map<string, Treatment>([
  ...words(FLAGS).map((name): [string, Treatment] => [name, { kind: 'flag' }]),
  ...words(VALUES).map((name): [string, Treatment] => [name, { kind: 'value' }]),
  ...words(FILES).map((name): [string, Treatment] => [name, { kind: 'file' }]),
  ...words(CHANGED).map((name): [string, Treatment] => [name, { kind: 'changed' }]),
  ...Object.entries(LEFT_OUT).flatMap(([why, names]) =>
    words(names).map((name): [string, Treatment] => [name, { kind: 'left out', why }]),
  ),
]);

/** Options that OpenVPN takes several times; of the others the last one counts. */
export const REPEATED: ReadonlySet<string> = new Set(['plugin', 'setenv', 'remote_cert_ku', 'extra_certs']);

/** Ciphers that OpenVPN 2.6 with OpenSSL 3 has no more. */
export const LOST_CIPHERS = /^(BF|DES|CAST5|RC2|IDEA|SEED)\b/i;
