package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/containerd/ttrpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// patience bounds a case that hangs. Nothing that works comes near to it.
const patience = 30 * time.Second

// messageLengthMax is the longest data of a frame, in bytes.
const messageLengthMax = 4 << 20

// peer is one connection to the server under test.
type peer struct {
	*schema
	address string
	client  *ttrpc.Client
	// request, if set, changes each unary request before it is sent.
	request func(*ttrpc.Request)
}

type result struct {
	Case  string `json:"case"`
	OK    bool   `json:"ok"`
	Error string `json:"error,omitempty"`
}

// call runs each case on a connection of its own. The outcome of a case is in its line of JSON;
// an error means that there is none.
func call(address string, names []string) error {
	schema, err := loadSchema()
	if err != nil {
		return err
	}
	lines := json.NewEncoder(os.Stdout)
	for _, name := range names {
		outcome := result{Case: name, OK: true}
		if err := runCase(address, schema, name); err != nil {
			outcome = result{Case: name, Error: err.Error()}
		}
		if err := lines.Encode(outcome); err != nil {
			return err
		}
	}
	return nil
}

func runCase(address string, schema *schema, name string) error {
	run, ok := unaryCases[name]
	if !ok {
		run, ok = casesOfVersion[name]
	}
	if !ok {
		return errors.New("there is no such case")
	}
	p, err := dial(address, schema)
	if err != nil {
		return err
	}
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

func dial(address string, schema *schema) (*peer, error) {
	network, name := socket(address)
	conn, err := net.Dial(network, name)
	if err != nil {
		return nil, err
	}
	p := &peer{schema: schema, address: address}
	p.client = ttrpc.NewClient(conn, ttrpc.WithUnaryClientInterceptor(p.intercept))
	return p, nil
}

func (p *peer) intercept(
	ctx context.Context,
	request *ttrpc.Request,
	response *ttrpc.Response,
	_ *ttrpc.UnaryClientInfo,
	invoke ttrpc.Invoker,
) error {
	if p.request != nil {
		p.request(request)
	}
	return invoke(ctx, request, response)
}

// alive checks that the connection still works.
func (p *peer) alive() error {
	reply, err := p.echo(background, "still here?")
	if err != nil {
		return fmt.Errorf("the connection does not work any more: %w", err)
	}
	return equal("text", reply.text("text"), "still here?")
}

func (p *peer) echo(ctx context.Context, text string) (message, error) {
	reply := p.test("EchoResponse")
	err := p.client.Call(ctx, testService, "Echo", p.test("EchoRequest").set("text", text), reply)
	return reply, err
}

func (p *peer) sleep(ctx context.Context, milliseconds int64) (message, error) {
	request := p.test("SleepRequest").set("milliseconds", milliseconds)
	reply := p.test("SleepResponse")
	return reply, p.client.Call(ctx, testService, "Sleep", request, reply)
}

func (p *peer) produce(length int) (message, error) {
	request := p.test("ProduceRequest").set("length", uint32(length))
	reply := p.test("EchoRequest")
	return reply, p.client.Call(background, testService, "Produce", request, reply)
}

func equal[T comparable](what string, actual, expected T) error {
	if actual == expected {
		return nil
	}
	return fmt.Errorf("expected %s to be %v, got %v", what, expected, actual)
}

// first is the first error there is.
func first(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// failed checks how a call failed. An empty text stands for any.
func failed(err error, code codes.Code, text string) error {
	if err == nil {
		return fmt.Errorf("expected the call to fail with %v", code)
	}
	actual, ok := status.FromError(err)
	if !ok {
		return fmt.Errorf("expected a status of %v, got %w", code, err)
	}
	if actual.Code() != code {
		return fmt.Errorf("expected a status of %v, got %w", code, err)
	}
	if text == "" {
		return nil
	}
	return equal("the status message", actual.Message(), text)
}
