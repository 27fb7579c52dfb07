package greet

import "testing"

func TestGreet(t *testing.T) {
	if Greet("you") != "hello you" {
		t.Fatal(Greet("you"))
	}
}
