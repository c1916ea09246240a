// The Go peer of our tests: containerd's ttrpc as a server and as a client. The file given as
// -modfile says which version. With ttrpc 1.1, which has no streams, it is built with the tag
// ttrpc1.1, and what is common to all versions keeps to the library of Go 1.19. The .mod files are
// kept by hand: `go mod tidy` does not mind tags, and would mix what the versions need.
package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/containerd/ttrpc"
)

const usage = `usage:
  peer serve ADDRESS         serves until SIGTERM, or the end of stdin
  peer call ADDRESS CASE...  runs cases against a server, one line of JSON for each
  peer describe              prints the descriptors of ttrpc.integration.streaming

ADDRESS is a path, @NAME in Linux's abstract namespace, or tcp://HOST:PORT. The descriptors of
our own services come in TTRPC_TEST_PROTOS: a FileDescriptorSet in base64.`

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(args []string) error {
	switch {
	case len(args) == 1 && args[0] == "describe":
		return describe()
	case len(args) == 2 && args[0] == "serve":
		return serve(args[1])
	case len(args) > 2 && args[0] == "call":
		return call(args[1], args[2:])
	}
	return fmt.Errorf("%s", usage)
}

func socket(address string) (network, name string) {
	if strings.HasPrefix(address, "tcp://") {
		return "tcp", strings.TrimPrefix(address, "tcp://")
	}
	return "unix", address
}

func serve(address string) error {
	schema, err := loadSchema()
	if err != nil {
		return err
	}
	server, err := ttrpc.NewServer()
	if err != nil {
		return err
	}
	register(server, schema)
	network, name := socket(address)
	listener, err := net.Listen(network, name)
	if err != nil {
		return err
	}

	go func() {
		// Whoever started this process may die without a word; its end of stdin goes with it.
		_, _ = io.Copy(io.Discard, bufio.NewReader(os.Stdin))
		server.Close()
	}()
	terminated := make(chan os.Signal, 1)
	signal.Notify(terminated, syscall.SIGTERM)
	go func() {
		<-terminated
		server.Close()
	}()

	fmt.Println("listening", listener.Addr())
	if err := server.Serve(background, listener); err != nil && err != ttrpc.ErrServerClosed {
		return err
	}
	return nil
}
