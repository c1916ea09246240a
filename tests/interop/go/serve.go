package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sort"
	"time"

	"github.com/containerd/ttrpc"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	grpcstatus "google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"
)

var background = context.Background()

// unary makes a method out of a function, and the message that it takes.
func unary[Request proto.Message](
	create func() Request,
	handle func(context.Context, Request) (proto.Message, error),
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
	server.RegisterService(greeterService, &ttrpc.ServiceDesc{
		Methods: map[string]ttrpc.Method{
			"SayHello": unary(
				func() message { return schema.message("greeter.v1.HelloRequest") },
				func(_ context.Context, request message) (proto.Message, error) {
					reply := schema.message("greeter.v1.HelloReply")
					return reply.set("message", "Hello "+request.text("name")), nil
				},
			),
		},
	})
}

func registerTestService(server *ttrpc.Server, schema *schema) {
	service := &tests{schema}
	server.RegisterService(testService, &ttrpc.ServiceDesc{
		Methods: map[string]ttrpc.Method{
			"Echo":    unary(func() message { return schema.test("EchoRequest") }, service.echo),
			"Fail":    unary(func() *status.Status { return new(status.Status) }, service.fail),
			"Sleep":   unary(func() message { return schema.test("SleepRequest") }, service.sleep),
			"Nothing": unary(func() *emptypb.Empty { return new(emptypb.Empty) }, service.nothing),
			"Produce": unary(func() message { return schema.test("ProduceRequest") }, service.produce),
		},
		Streams: map[string]ttrpc.Stream{
			"Count": {Handler: service.count, StreamingServer: true},
			"Sum":   {Handler: service.sum, StreamingClient: true},
			"Chat":  {Handler: service.chat, StreamingClient: true, StreamingServer: true},
		},
	})
}

// tests implements ttrpc.test.v1.TestService.
type tests struct {
	schema *schema
}

func (t *tests) echo(ctx context.Context, request message) (proto.Message, error) {
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
func (t *tests) fail(_ context.Context, request *status.Status) (proto.Message, error) {
	return nil, grpcstatus.ErrorProto(request)
}

func (t *tests) sleep(ctx context.Context, request message) (proto.Message, error) {
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

func (t *tests) nothing(_ context.Context, request *emptypb.Empty) (proto.Message, error) {
	return request, nil
}

func (t *tests) produce(_ context.Context, request message) (proto.Message, error) {
	return t.schema.test("EchoRequest").set("payload", make([]byte, request.uint("length"))), nil
}

func (t *tests) count(_ context.Context, stream ttrpc.StreamServer) (any, error) {
	request := t.schema.test("CountRequest")
	if err := stream.RecvMsg(request); err != nil {
		return nil, err
	}
	for i := int64(0); i < int64(request.uint("count")); i++ {
		if err := stream.SendMsg(t.schema.test("CountResponse").set("value", i)); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

func (t *tests) sum(_ context.Context, stream ttrpc.StreamServer) (any, error) {
	var sum int64
	for {
		request := t.schema.test("CountResponse")
		if err := stream.RecvMsg(request); errors.Is(err, io.EOF) {
			return t.schema.test("CountResponse").set("value", sum), nil
		} else if err != nil {
			return nil, err
		}
		sum += request.int("value")
	}
}

func (t *tests) chat(ctx context.Context, stream ttrpc.StreamServer) (any, error) {
	for {
		request := t.schema.test("EchoRequest")
		if err := stream.RecvMsg(request); errors.Is(err, io.EOF) {
			return nil, nil
		} else if err != nil {
			return nil, err
		}
		if request.text("text") == "fail" {
			return nil, grpcstatus.Error(codes.FailedPrecondition, "asked to fail")
		}
		reply, err := t.echo(ctx, request)
		if err != nil {
			return nil, err
		}
		if err := stream.SendMsg(reply); err != nil {
			return nil, err
		}
	}
}
