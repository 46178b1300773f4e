// As gai.c, with Go's own resolver (it is built without cgo).
package main

import (
	"context"
	"fmt"
	"net"
	"os"
)

func main() {
	fmt.Println("started")
	fmt.Scanln()
	if _, err := net.DefaultResolver.LookupHost(context.Background(), os.Args[1]); err != nil {
		fmt.Println(err)
	} else {
		fmt.Println("answered")
	}
}
