from anila.cli.app import main

main()
