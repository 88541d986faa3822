# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_firewallnetns_global_optspecs
    string join \n h/help V/version
end

function __fish_firewallnetns_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_firewallnetns_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_firewallnetns_using_subcommand
    set -l cmd (__fish_firewallnetns_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c firewallnetns -n "__fish_firewallnetns_needs_command" -s h -l help -d 'Print help'
complete -c firewallnetns -n "__fish_firewallnetns_needs_command" -s V -l version -d 'Print version'
complete -c firewallnetns -n "__fish_firewallnetns_needs_command" -f -a "demo" -d 'Show in two scratch namespaces that it works: the documented example with real packets'
complete -c firewallnetns -n "__fish_firewallnetns_needs_command" -f -a "install" -d 'Put this program, the plugins beside it and the presets into a node\'s folders'
complete -c firewallnetns -n "__fish_firewallnetns_needs_command" -f -a "add" -d 'Attach a namespace to a network: ADD by all its plugins'
complete -c firewallnetns -n "__fish_firewallnetns_needs_command" -f -a "del" -d 'Detach a namespace from a network: DEL by all its plugins'
complete -c firewallnetns -n "__fish_firewallnetns_needs_command" -f -a "check" -d 'Compare an attachment with what its ADD made: CHECK by all its plugins'
complete -c firewallnetns -n "__fish_firewallnetns_needs_command" -f -a "gc" -d 'Remove what belongs to no valid attachment of a network: GC by all its plugins'
complete -c firewallnetns -n "__fish_firewallnetns_needs_command" -f -a "status" -d 'Tell whether a network could be attached to: STATUS by all its plugins'
complete -c firewallnetns -n "__fish_firewallnetns_needs_command" -f -a "plan" -d 'Show what an ADD would put in force: as iptables-restore and ipset take it, as JSON, or against a namespace'
complete -c firewallnetns -n "__fish_firewallnetns_needs_command" -f -a "lint" -d 'Look for what ADD would refuse in a configuration, and for what is most likely not meant'
complete -c firewallnetns -n "__fish_firewallnetns_needs_command" -f -a "schema" -d 'Print the JSON Schema of a configuration, for editors'
complete -c firewallnetns -n "__fish_firewallnetns_needs_command" -f -a "oci-hook" -d 'Attach or detach a container whose runtime calls OCI hooks'
complete -c firewallnetns -n "__fish_firewallnetns_needs_command" -f -a "show" -d 'Show what is in force in a namespace: rules with counters and where each was written, policies, sets'
complete -c firewallnetns -n "__fish_firewallnetns_needs_command" -f -a "explain" -d 'Tell what becomes of a packet in a namespace: the verdict, the rule that decides, and those before it'
complete -c firewallnetns -n "__fish_firewallnetns_needs_command" -f -a "test" -d 'Send the packets that policies carry through them, and compare with what is expected'
complete -c firewallnetns -n "__fish_firewallnetns_using_subcommand demo" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c firewallnetns -n "__fish_firewallnetns_using_subcommand install" -l bin-dir -d 'Folder of the CNI plugins' -r -F
complete -c firewallnetns -n "__fish_firewallnetns_using_subcommand install" -l data-dir -d 'Folder of the .fw files' -r -F
complete -c firewallnetns -n "__fish_firewallnetns_using_subcommand install" -l presets -d 'Folder to take presets from [default: ../fw, seen from the program]' -r -F
complete -c firewallnetns -n "__fish_firewallnetns_using_subcommand install" -l wait -d 'Then wait for SIGTERM or SIGINT, as a pod of a DaemonSet has to'
complete -c firewallnetns -n "__fish_firewallnetns_using_subcommand install" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c firewallnetns -n "__fish_firewallnetns_using_subcommand add" -l cache-dir -d 'Where results of ADD are kept; wins over CNI_CACHE_DIR' -r -F
complete -c firewallnetns -n "__fish_firewallnetns_using_subcommand add" -s i -l ifname -d 'Name of the interface in the namespace; wins over CNI_IFNAME' -r
complete -c firewallnetns -n "__fish_firewallnetns_using_subcommand add" -s h -l help -d 'Print help'
complete -c firewallnetns -n "__fish_firewallnetns_using_subcommand del" -l cache-dir -d 'Where results of ADD are kept; wins over CNI_CACHE_DIR' -r -F
complete -c firewallnetns -n "__fish_firewallnetns_using_subcommand del" -s i -l ifname -d 'Name of the interface in the namespace; wins over CNI_IFNAME' -r
complete -c firewallnetns -n "__fish_firewallnetns_using_subcommand del" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c firewallnetns -n "__fish_firewallnetns_using_subcommand check" -l cache-dir -d 'Where results of ADD are kept; wins over CNI_CACHE_DIR' -r -F
complete -c firewallnetns -n "__fish_firewallnetns_using_subcommand check" -s i -l ifname -d 'Name of the interface in the namespace; wins over CNI_IFNAME' -r
complete -c firewallnetns -n "__fish_firewallnetns_using_subcommand check" -s h -l help -d 'Print help'
complete -c firewallnetns -n "__fish_firewallnetns_using_subcommand gc" -l cache-dir -d 'Where results of ADD are kept; wins over CNI_CACHE_DIR' -r -F
complete -c firewallnetns -n "__fish_firewallnetns_using_subcommand gc" -l keep -d 'A valid attachment; may be given more than once' -r
complete -c firewallnetns -n "__fish_firewallnetns_using_subcommand gc" -l all -d 'No attachment is valid: remove them all (what cnitool\'s gc does)'
complete -c firewallnetns -n "__fish_firewallnetns_using_subcommand gc" -s h -l help -d 'Print help'
complete -c firewallnetns -n "__fish_firewallnetns_using_subcommand status" -l cache-dir -d 'Where results of ADD are kept; wins over CNI_CACHE_DIR' -r -F
complete -c firewallnetns -n "__fish_firewallnetns_using_subcommand status" -s h -l help -d 'Print help'
complete -c firewallnetns -n "__fish_firewallnetns_using_subcommand plan" -l env -d 'A variable, as ADD finds it in its environment; CNI_IFNAME is eth0 unless it is given' -r
complete -c firewallnetns -n "__fish_firewallnetns_using_subcommand plan" -l data-dir -d 'Folder of .fw files and set files, in place of `dataDir` [default for .fw files: that of the first file]' -r -F
complete -c firewallnetns -n "__fish_firewallnetns_using_subcommand plan" -l state-dir -d 'Folder of what is in force, in place of `stateDir`' -r -F
complete -c firewallnetns -n "__fish_firewallnetns_using_subcommand plan" -l netns -d 'Compare with what is in this namespace (a path, or a name in /run/netns)' -r -F
complete -c firewallnetns -n "__fish_firewallnetns_using_subcommand plan" -l container -d 'With --netns: the container of the attachment to compare with, where there are several' -r
complete -c firewallnetns -n "__fish_firewallnetns_using_subcommand plan" -l only -d 'Print only this part, as one of the tools takes it' -r -f -a "sets\t'For `ipset -exist restore`'
ipv4\t'For `iptables-restore --noflush`'
ipv6\t'For `ip6tables-restore --noflush`'"
complete -c firewallnetns -n "__fish_firewallnetns_using_subcommand plan" -l json -d 'Print JSON'
complete -c firewallnetns -n "__fish_firewallnetns_using_subcommand plan" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c firewallnetns -n "__fish_firewallnetns_using_subcommand lint" -l env -d 'A variable, as ADD finds it in its environment' -r
complete -c firewallnetns -n "__fish_firewallnetns_using_subcommand lint" -l data-dir -d 'Folder of .fw files and set files, in place of `dataDir` [default for a .fw file: its own]' -r -F
complete -c firewallnetns -n "__fish_firewallnetns_using_subcommand lint" -l format -d 'How to print' -r -f -a "text\t'For people: the line, with the words underlined'
json\t'One JSON object'
sarif\t'SARIF 2.1.0, for code hosts and editors'"
complete -c firewallnetns -n "__fish_firewallnetns_using_subcommand lint" -l deny-warnings -d 'Fail on warnings, too'
complete -c firewallnetns -n "__fish_firewallnetns_using_subcommand lint" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c firewallnetns -n "__fish_firewallnetns_using_subcommand schema" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c firewallnetns -n "__fish_firewallnetns_using_subcommand oci-hook" -l network -d 'Network that every container is attached to: `name` in one of the files in NETCONFPATH' -r
complete -c firewallnetns -n "__fish_firewallnetns_using_subcommand oci-hook" -l annotation -d 'Annotation of the container that names its network; a container without it does not start' -r
complete -c firewallnetns -n "__fish_firewallnetns_using_subcommand oci-hook" -s i -l ifname -d 'Name of the interface in the container; wins over CNI_IFNAME' -r
complete -c firewallnetns -n "__fish_firewallnetns_using_subcommand oci-hook" -l cache-dir -d 'Where results of ADD are kept; wins over CNI_CACHE_DIR' -r -F
complete -c firewallnetns -n "__fish_firewallnetns_using_subcommand oci-hook" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c firewallnetns -n "__fish_firewallnetns_using_subcommand show" -l container -d 'The namespace of this container, as its ADD recorded it' -r
complete -c firewallnetns -n "__fish_firewallnetns_using_subcommand show" -l interval -d 'With --watch: seconds between two looks' -r
complete -c firewallnetns -n "__fish_firewallnetns_using_subcommand show" -l count -d 'With --watch: end after so many looks' -r
complete -c firewallnetns -n "__fish_firewallnetns_using_subcommand show" -l state-dir -d 'Folder of what is in force' -r -F
complete -c firewallnetns -n "__fish_firewallnetns_using_subcommand show" -l watch -d 'Show again and again, and mark what moves; ends with Ctrl-C, or with the namespace'
complete -c firewallnetns -n "__fish_firewallnetns_using_subcommand show" -l json -d 'Print JSON; with --watch one line a look'
complete -c firewallnetns -n "__fish_firewallnetns_using_subcommand show" -s h -l help -d 'Print help'
complete -c firewallnetns -n "__fish_firewallnetns_using_subcommand explain" -l container -d 'In place of NETNS: the namespace of this container, as its ADD recorded it' -r
complete -c firewallnetns -n "__fish_firewallnetns_using_subcommand explain" -l state-dir -d 'Folder of what is in force' -r -F
complete -c firewallnetns -n "__fish_firewallnetns_using_subcommand explain" -l all -d 'Show all rules that were looked at, however many'
complete -c firewallnetns -n "__fish_firewallnetns_using_subcommand explain" -l json -d 'Print JSON'
complete -c firewallnetns -n "__fish_firewallnetns_using_subcommand explain" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c firewallnetns -n "__fish_firewallnetns_using_subcommand test" -l env -d 'A variable, as ADD finds it in its environment; CNI_IFNAME is eth0 unless it is given' -r
complete -c firewallnetns -n "__fish_firewallnetns_using_subcommand test" -l data-dir -d 'Folder of .fw files and set files, in place of `dataDir` [default for .fw files: that of the first file]' -r -F
complete -c firewallnetns -n "__fish_firewallnetns_using_subcommand test" -l state-dir -d 'Folder of what is in force, in place of `stateDir`' -r -F
complete -c firewallnetns -n "__fish_firewallnetns_using_subcommand test" -l format -d 'How to print the results' -r -f -a "text\t'For people'
tap\t'Test Anything Protocol'
junit\t'JUnit\'s XML'"
complete -c firewallnetns -n "__fish_firewallnetns_using_subcommand test" -s h -l help -d 'Print help (see more with \'--help\')'
