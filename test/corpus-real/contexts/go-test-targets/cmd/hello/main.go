package main

import "example.org/greet/greet"

func main() { println(greet.Greet("from go")) }
