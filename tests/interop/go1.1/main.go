// The old Go peer of our tests: containerd's ttrpc 1.1, which has unary calls only, as a server
// and as a client.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"github.com/containerd/ttrpc"
)

const usage = `usage:
  peer serve ADDRESS      serves until the end of stdin
  peer call ADDRESS CASE  runs a case against a server, and prints a line of JSON

ADDRESS is the path of a unix socket. The descriptors of our own services come in
TTRPC_TEST_PROTOS: a FileDescriptorSet in base64.`

// patience bounds a case that hangs. Nothing that works comes near to it.
const patience = 30 * time.Second

var background = context.Background()

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(args []string) error {
	schema, err := loadSchema()
	if err != nil {
		return err
	}
	switch {
	case len(args) == 2 && args[0] == "serve":
		return serve(args[1], schema)
	case len(args) == 3 && args[0] == "call":
		return call(args[1], args[2], schema)
	}
	return fmt.Errorf("%s", usage)
}

func serve(address string, schema *schema) error {
	server, err := ttrpc.NewServer()
	if err != nil {
		return err
	}
	register(server, schema)
	listener, err := net.Listen("unix", address)
	if err != nil {
		return err
	}
	go func() {
		// Whoever started this process may die without a word; its end of stdin goes with it.
		_, _ = io.Copy(io.Discard, os.Stdin)
		_ = server.Close()
	}()
	fmt.Println("listening", address)
	if err := server.Serve(background, listener); err != nil && err != ttrpc.ErrServerClosed {
		return err
	}
	return nil
}

type result struct {
	Case  string `json:"case"`
	OK    bool   `json:"ok"`
	Error string `json:"error,omitempty"`
}

// call runs a case. Its outcome is in the line of JSON; an error means that there is none.
func call(address, name string, schema *schema) error {
	outcome := result{Case: name, OK: true}
	if err := runCase(address, name, schema); err != nil {
		outcome = result{Case: name, Error: err.Error()}
	}
	return json.NewEncoder(os.Stdout).Encode(outcome)
}

func runCase(address, name string, schema *schema) error {
	run, ok := cases[name]
	if !ok {
		return fmt.Errorf("there is no such case")
	}
	conn, err := net.Dial("unix", address)
	if err != nil {
		return err
	}
	p := &peer{schema: schema}
	p.client = ttrpc.NewClient(conn, ttrpc.WithUnaryClientInterceptor(p.intercept))
	defer p.client.Close()

	done := make(chan error, 1)
	go func() { done <- run(p) }()
	select {
	case err := <-done:
		return err
	case <-time.After(patience):
		return fmt.Errorf("there is no end to it after %v", patience)
	}
}
