package main

import (
	"context"
	"fmt"
	"sort"
	"time"

	"github.com/containerd/ttrpc"
	"google.golang.org/genproto/googleapis/rpc/status"
	grpcstatus "google.golang.org/grpc/status"
)

var background = context.Background()

// unary makes a method out of a function, and the message that it takes.
func unary[Request any](
	create func() Request,
	handle func(context.Context, Request) (any, error),
) ttrpc.Method {
	return func(ctx context.Context, unmarshal func(any) error) (any, error) {
		request := create()
		if err := unmarshal(request); err != nil {
			return nil, err
		}
		return handle(ctx, request)
	}
}

func registerGreeter(server *ttrpc.Server, schema *schema) {
	server.Register(greeterService, map[string]ttrpc.Method{
		"SayHello": unary(
			func() message { return schema.message("greeter.v1.HelloRequest") },
			func(_ context.Context, request message) (any, error) {
				reply := schema.message("greeter.v1.HelloReply")
				return reply.set("message", "Hello "+request.text("name")), nil
			},
		),
	})
}

// tests implements ttrpc.test.v1.TestService.
type tests struct {
	schema *schema
}

// unary is its methods that do not stream.
func (t *tests) unary() map[string]ttrpc.Method {
	return map[string]ttrpc.Method{
		"Echo":    unary(func() message { return t.schema.test("EchoRequest") }, t.echo),
		"Fail":    unary(func() *status.Status { return new(status.Status) }, t.fail),
		"Sleep":   unary(func() message { return t.schema.test("SleepRequest") }, t.sleep),
		"Nothing": unary(t.schema.nothing, t.nothing),
		"Produce": unary(func() message { return t.schema.test("ProduceRequest") }, t.produce),
	}
}

func (t *tests) echo(ctx context.Context, request message) (any, error) {
	return t.schema.test("EchoResponse").
		set("payload", request.bytes("payload")).
		set("text", request.text("text")).
		addPairs("metadata", metadata(ctx)), nil
}

// metadata is what came with a call, sorted by key: Go keeps it in a map.
func metadata(ctx context.Context) []pair {
	md, _ := ttrpc.GetMetadata(ctx)
	var pairs []pair
	for key, values := range md {
		for _, value := range values {
			pairs = append(pairs, pair{key, value})
		}
	}
	sort.SliceStable(pairs, func(i, j int) bool { return pairs[i].key < pairs[j].key })
	return pairs
}

// A FailRequest has the fields of a google.rpc.Status, with the same numbers, so it is read as one.
func (t *tests) fail(_ context.Context, request *status.Status) (any, error) {
	return nil, grpcstatus.ErrorProto(request)
}

func (t *tests) sleep(ctx context.Context, request message) (any, error) {
	milliseconds := request.int("milliseconds")
	if milliseconds < 0 {
		return nil, fmt.Errorf("cannot sleep for %d ms", milliseconds)
	}
	var left int64
	if deadline, ok := ctx.Deadline(); ok {
		left = time.Until(deadline).Milliseconds()
	}
	select {
	case <-time.After(time.Duration(milliseconds) * time.Millisecond):
		return t.schema.test("SleepResponse").set("deadline_milliseconds", left), nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (t *tests) nothing(_ context.Context, request message) (any, error) {
	return request, nil
}

func (t *tests) produce(_ context.Context, request message) (any, error) {
	return t.schema.test("EchoRequest").set("payload", make([]byte, request.uint("length"))), nil
}
