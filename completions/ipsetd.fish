# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_ipsetd_global_optspecs
    string join \n enable port= allow-from= token-file= tls-cert= tls-key= tls-ca= allow-any sets= verbs= max-line= max-rate= max-batch= max-connections= max-per-peer= idle= patience= debug h/help V/version
end

function __fish_ipsetd_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_ipsetd_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_ipsetd_using_subcommand
    set -l cmd (__fish_ipsetd_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c ipsetd -n "__fish_ipsetd_needs_command" -l port -d 'TCP port, on all addresses; default 9999 [IPSET_PORT]' -r
complete -c ipsetd -n "__fish_ipsetd_needs_command" -l allow-from -d 'Addresses and networks whose commands are taken [IPSET_ALLOW_FROM]' -r
complete -c ipsetd -n "__fish_ipsetd_needs_command" -l token-file -d 'Token that has to come first, as `auth TOKEN` [IPSET_TOKEN_FILE]' -r
complete -c ipsetd -n "__fish_ipsetd_needs_command" -l tls-cert -d 'Certificates of this server, PEM: speak TLS [IPSET_TLS_CERT]' -r
complete -c ipsetd -n "__fish_ipsetd_needs_command" -l tls-key -d 'Its private key, PEM [IPSET_TLS_KEY]' -r
complete -c ipsetd -n "__fish_ipsetd_needs_command" -l tls-ca -d 'Authorities of client certificates, PEM: ask for one [IPSET_TLS_CA]' -r
complete -c ipsetd -n "__fish_ipsetd_needs_command" -l sets -d 'Sets that may be named; default: all [IPSET_SETS]' -r
complete -c ipsetd -n "__fish_ipsetd_needs_command" -l verbs -d 'Verbs that may be used; default add,del,test,list [IPSET_VERBS]' -r
complete -c ipsetd -n "__fish_ipsetd_needs_command" -l max-line -d 'Longest line; default 4096 [IPSET_MAX_LINE]' -r
complete -c ipsetd -n "__fish_ipsetd_needs_command" -l max-rate -d 'Lines a second of one peer, more have to wait; default: any [IPSET_MAX_RATE]' -r
complete -c ipsetd -n "__fish_ipsetd_needs_command" -l max-batch -d 'Lines between begin and commit; default 100000 [IPSET_MAX_BATCH]' -r
complete -c ipsetd -n "__fish_ipsetd_needs_command" -l max-connections -d 'Connections in all; default 1024 [IPSET_MAX_CONNECTIONS]' -r
complete -c ipsetd -n "__fish_ipsetd_needs_command" -l max-per-peer -d 'Connections of one peer; default 64 [IPSET_MAX_PER_PEER]' -r
complete -c ipsetd -n "__fish_ipsetd_needs_command" -l idle -d 'Silence after which a connection is closed; default 300 [IPSET_IDLE]' -r
complete -c ipsetd -n "__fish_ipsetd_needs_command" -l patience -d 'Time for a begun line to end and for answers to be read; default 10 [IPSET_PATIENCE]' -r
complete -c ipsetd -n "__fish_ipsetd_needs_command" -l enable -d 'Serve; without it nothing is done [IPSET]'
complete -c ipsetd -n "__fish_ipsetd_needs_command" -l allow-any -d 'Open the port even if nothing guards it [IPSET_ALLOW_ANY]'
complete -c ipsetd -n "__fish_ipsetd_needs_command" -l debug -d 'Log every line and its answer [IPSET_DEBUG]'
complete -c ipsetd -n "__fish_ipsetd_needs_command" -s h -l help -d 'Print help'
complete -c ipsetd -n "__fish_ipsetd_needs_command" -s V -l version -d 'Print version'
complete -c ipsetd -n "__fish_ipsetd_needs_command" -a "node" -d 'Serves the sets of all containers of this node that the plugin registers'
complete -c ipsetd -n "__fish_ipsetd_needs_command" -a "status" -d 'Tells what the daemon of this node serves'
complete -c ipsetd -n "__fish_ipsetd_using_subcommand node" -l socket -d 'Unix socket for the plugin and for operators, unless systemd hands one over' -r -F
complete -c ipsetd -n "__fish_ipsetd_using_subcommand node" -l group -d 'Who may send operators\' lines beside root' -r
complete -c ipsetd -n "__fish_ipsetd_using_subcommand node" -l state-dir -d 'What is registered, to be served again after a restart' -r -F
complete -c ipsetd -n "__fish_ipsetd_using_subcommand node" -l metrics -d 'Where Prometheus can read metrics; default: nowhere' -r
complete -c ipsetd -n "__fish_ipsetd_using_subcommand node" -l look-every -d 'How often all namespaces are looked after, beside what is noticed at once' -r
complete -c ipsetd -n "__fish_ipsetd_using_subcommand node" -l drain -d 'How long connections may take to end with the daemon' -r
complete -c ipsetd -n "__fish_ipsetd_using_subcommand node" -l max-total -d 'Connections of all containers together' -r
complete -c ipsetd -n "__fish_ipsetd_using_subcommand node" -l max-line -d 'Longest line; default 4096 [IPSET_MAX_LINE]' -r
complete -c ipsetd -n "__fish_ipsetd_using_subcommand node" -l max-rate -d 'Lines a second of one peer, more have to wait; default: any [IPSET_MAX_RATE]' -r
complete -c ipsetd -n "__fish_ipsetd_using_subcommand node" -l max-batch -d 'Lines between begin and commit; default 100000 [IPSET_MAX_BATCH]' -r
complete -c ipsetd -n "__fish_ipsetd_using_subcommand node" -l max-connections -d 'Connections in all; default 1024 [IPSET_MAX_CONNECTIONS]' -r
complete -c ipsetd -n "__fish_ipsetd_using_subcommand node" -l max-per-peer -d 'Connections of one peer; default 64 [IPSET_MAX_PER_PEER]' -r
complete -c ipsetd -n "__fish_ipsetd_using_subcommand node" -l idle -d 'Silence after which a connection is closed; default 300 [IPSET_IDLE]' -r
complete -c ipsetd -n "__fish_ipsetd_using_subcommand node" -l patience -d 'Time for a begun line to end and for answers to be read; default 10 [IPSET_PATIENCE]' -r
complete -c ipsetd -n "__fish_ipsetd_using_subcommand node" -l debug -d 'Log every line and its answer [IPSET_DEBUG]'
complete -c ipsetd -n "__fish_ipsetd_using_subcommand node" -s h -l help -d 'Print help'
complete -c ipsetd -n "__fish_ipsetd_using_subcommand status" -l socket -d 'Its unix socket' -r -F
complete -c ipsetd -n "__fish_ipsetd_using_subcommand status" -l json -d 'As JSON, one line'
complete -c ipsetd -n "__fish_ipsetd_using_subcommand status" -s h -l help -d 'Print help'
