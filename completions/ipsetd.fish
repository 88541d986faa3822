complete -c ipsetd -l port -d 'TCP port, on all addresses; default 9999 [IPSET_PORT]' -r
complete -c ipsetd -l allow-from -d 'Addresses and networks whose commands are taken [IPSET_ALLOW_FROM]' -r
complete -c ipsetd -l token-file -d 'Token that has to come first, as `auth TOKEN` [IPSET_TOKEN_FILE]' -r
complete -c ipsetd -l tls-cert -d 'Certificates of this server, PEM: speak TLS [IPSET_TLS_CERT]' -r
complete -c ipsetd -l tls-key -d 'Its private key, PEM [IPSET_TLS_KEY]' -r
complete -c ipsetd -l tls-ca -d 'Authorities of client certificates, PEM: ask for one [IPSET_TLS_CA]' -r
complete -c ipsetd -l sets -d 'Sets that may be named; default: all [IPSET_SETS]' -r
complete -c ipsetd -l verbs -d 'Verbs that may be used; default add,del,test,list [IPSET_VERBS]' -r
complete -c ipsetd -l max-line -d 'Longest line; default 4096 [IPSET_MAX_LINE]' -r
complete -c ipsetd -l max-rate -d 'Lines a second of one peer, more have to wait; default: any [IPSET_MAX_RATE]' -r
complete -c ipsetd -l max-batch -d 'Lines between begin and commit; default 100000 [IPSET_MAX_BATCH]' -r
complete -c ipsetd -l max-connections -d 'Connections in all; default 1024 [IPSET_MAX_CONNECTIONS]' -r
complete -c ipsetd -l max-per-peer -d 'Connections of one peer; default 64 [IPSET_MAX_PER_PEER]' -r
complete -c ipsetd -l idle -d 'Silence after which a connection is closed; default 300 [IPSET_IDLE]' -r
complete -c ipsetd -l patience -d 'Time for a begun line to end and for answers to be read; default 10 [IPSET_PATIENCE]' -r
complete -c ipsetd -l enable -d 'Serve; without it nothing is done [IPSET]'
complete -c ipsetd -l allow-any -d 'Open the port even if nothing guards it [IPSET_ALLOW_ANY]'
complete -c ipsetd -l debug -d 'Log every line and its answer [IPSET_DEBUG]'
complete -c ipsetd -s h -l help -d 'Print help'
complete -c ipsetd -s V -l version -d 'Print version'
