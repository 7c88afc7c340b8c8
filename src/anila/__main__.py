from anila.cli import main

main()
