package main

import (
	"context"
	"fmt"
	"sort"
	"time"

	"github.com/containerd/ttrpc"
	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/status"
)

type unmarshal = func(interface{}) error

func register(server *ttrpc.Server, schema *schema) {
	service := &tests{schema}
	server.Register(testService, map[string]ttrpc.Method{
		"Echo":    service.echo,
		"Fail":    service.fail,
		"Sleep":   service.sleep,
		"Nothing": service.nothing,
		"Produce": service.produce,
	})
}

// tests implements ttrpc.test.v1.TestService, but for its streams.
type tests struct {
	schema *schema
}

func (t *tests) echo(ctx context.Context, unmarshal unmarshal) (interface{}, error) {
	request := t.schema.test("EchoRequest")
	if err := unmarshal(request); err != nil {
		return nil, err
	}
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
func (t *tests) fail(_ context.Context, unmarshal unmarshal) (interface{}, error) {
	request := new(spb.Status)
	if err := unmarshal(request); err != nil {
		return nil, err
	}
	return nil, status.ErrorProto(request)
}

func (t *tests) sleep(ctx context.Context, unmarshal unmarshal) (interface{}, error) {
	request := t.schema.test("SleepRequest")
	if err := unmarshal(request); err != nil {
		return nil, err
	}
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

func (t *tests) nothing(_ context.Context, unmarshal unmarshal) (interface{}, error) {
	request := new(raw)
	return request, unmarshal(request)
}

func (t *tests) produce(_ context.Context, unmarshal unmarshal) (interface{}, error) {
	request := t.schema.test("ProduceRequest")
	if err := unmarshal(request); err != nil {
		return nil, err
	}
	length := request.get("length").Uint()
	return t.schema.test("EchoRequest").set("payload", make([]byte, length)), nil
}
